package engine

import (
	"slices"
	"strconv"
	"testing"
)

func TestTokenMemo_IsBounded(t *testing.T) {
	t.Parallel()
	m, key := new(tokenMemo), newMemoKey()
	tok := &token{keyID: "k", scopes: slices.Repeat([]string{"orders:read"}, 100)}
	for i := range 20_000 {
		m.put(key.digest(strconv.Itoa(i)), tok)
	}
	n, bytes := 0, 0
	for i := range m.shards {
		n += len(m.shards[i].known)
		bytes += m.shards[i].bytes
	}
	if bytes > memoShards*memoShardBytes || bytes != n*tok.size() || n < 1000 {
		t.Errorf("%d tokens in %d bytes", n, bytes)
	}
	last := key.digest("19999")
	if m.get(last) != tok {
		t.Error("a token that was just put is not there")
	}
	if m.drop(last); m.get(last) != nil {
		t.Error("a dropped token is there")
	}
}
