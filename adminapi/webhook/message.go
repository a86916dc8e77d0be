package webhook

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"time"

	"github.com/talos-edge/talos-edge/adminapi"
	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

// The types of message that are no change of a key.
const (
	TypeExpiring = "key.expiring" // a key is about to expire
	TypeTest     = "talos.test"   // somebody tries the webhook
)

// message is what is delivered: an id, which is the same in each attempt and from each process, and a body.
type message struct {
	id   string
	body []byte
}

// envelope is a message's body.
type envelope struct {
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"` // when it happened
	Data      any       `json:"data"`
}

// Expiring is the data of a message of [TypeExpiring].
type Expiring struct {
	KeyID      string    `json:"key_id"`
	KeyType    string    `json:"key_type"` // issued or imported
	ActorID    string    `json:"actor_id"` // whom the key acts for
	Name       string    `json:"name"`
	ExpireTime time.Time `json:"expire_time"`
	DaysLeft   int       `json:"days_left"` // the number of days of the notice: 30, 7 or 1

	Network string `json:"network,omitempty"` // the id of the key's network, where there are several
}

// change is the data of a message about a change.
type change struct {
	client.Event
	Network string `json:"network,omitempty"` // as in Expiring
}

// ofEvent is a change as the API's list of events shows it, with its network.
func ofEvent(feedID string, e *feed.Event) (*message, error) {
	record := adminapi.EventRecord(e)
	return newMessage(fmt.Sprintf("event_%s_%d", feedID, e.Position), envelope{
		record.Type, record.Time, change{record, networkName(e.Network)},
	})
}

// networkName is the id of a network as messages have it.
func networkName(id core.NetworkID) string {
	if id == (core.NetworkID{}) {
		return ""
	}
	return id.String()
}

// ofNotice is the notice that a key expires in a number of days, or less.
func ofNotice(k *core.Key, days int) (*message, error) {
	kind := "issued"
	if k.Kind == core.Imported {
		kind = "imported"
	}
	id := fmt.Sprintf("expiring_%s_%d_%d", k.ID, days, k.ExpireTime.Unix())
	due := k.ExpireTime.Add(-time.Duration(days) * day).UTC()
	return newMessage(id, envelope{TypeExpiring, due, Expiring{
		KeyID: k.ID, KeyType: kind, ActorID: k.ActorID, Name: k.Name, ExpireTime: k.ExpireTime.UTC(), DaysLeft: days,
		Network: networkName(k.Network),
	}})
}

func ofTest(now time.Time) (*message, error) {
	return newMessage("test_"+rand.Text(), envelope{TypeTest, now.UTC().Truncate(time.Second), map[string]string{
		"message": "This is a test. No key has changed.",
	}})
}

func newMessage(id string, e envelope) (*message, error) {
	body, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("encode message: %w", err)
	}
	return &message{id, body}, nil
}
