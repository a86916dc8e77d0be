package sqlite

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"sync"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/credential"
	"github.com/talos-edge/talos-edge/core/engine"
	"github.com/talos-edge/talos-edge/core/verify"
)

// verifierEnv makes the test binary a node on the named file: it verifies each line of its standard input and answers
// with the code of the verdict, until the input ends.
const verifierEnv = "TALOS_TEST_VERIFIER"

func testEngine(store core.Store) (*engine.Engine, error) {
	keyring, err := credential.NewKeyring("an HMAC secret of thirty-two bytes")
	if err != nil {
		return nil, err
	}
	return engine.New(engine.Config{Keyring: keyring}, store)
}

func verifyUntilClosed(path string) error {
	ctx := context.Background()
	store, err := Open(ctx, path, Options{})
	if err != nil {
		return err
	}
	keys, err := testEngine(store)
	if err != nil {
		return err
	}
	verifier, err := verify.New(verify.Config{}, keys)
	if err != nil {
		return err
	}
	lines := make(chan string)
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for line := range lines {
				if r, err := verifier.Verify(ctx, core.NetworkID{}, line, verify.Use); err != nil {
					fmt.Printf("error %v\n", err)
				} else {
					fmt.Printf("code %d %s\n", r.Verdict.Code, r.Cache)
				}
			}
		})
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		lines <- in.Text()
	}
	close(lines)
	workers.Wait()
	verifier.Close()
	return store.Close()
}
