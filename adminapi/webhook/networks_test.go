package webhook_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/adminapi/webhook"
	"github.com/talos-edge/talos-edge/core"
)

func TestSender_DeliversTheChangesAndNoticesOfEachOfItsNetworksAndNamesIt(t *testing.T) {
	t.Parallel()
	inBubble(t, func(s *setup) {
		first, second, foreign := core.NetworkID{1}, core.NetworkID{2}, core.NetworkID{3}
		sender := s.start(func(c *webhook.Config) {
			c.Networks = []core.NetworkID{first, second}
			c.Types = []string{"IssuedAPIKeyCreated", webhook.TypeExpiring}
		})
		for _, id := range []core.NetworkID{first, second, foreign, {}} {
			if _, _, err := s.Create(s.Context(), core.Key{
				Network: id, ID: "key of " + id.String(), Kind: core.Issued, Status: core.StatusActive,
				CreateTime: time.Now(), UpdateTime: time.Now(), ExpireTime: time.Now().Add(day + time.Hour),
			}); err != nil {
				t.Fatal(err)
			}
		}
		s.wait(3 * time.Hour)
		sender.Close()
		var got []string
		for _, d := range s.receiver.deliveries() {
			var message struct {
				Type string
				Data struct{ Network string }
			}
			if err := json.Unmarshal(d.body, &message); err != nil {
				t.Fatal(err)
			}
			if d.keyID != "key of "+message.Data.Network {
				t.Errorf("%s is said to be of the network %s", d.keyID, message.Data.Network)
			}
			got = append(got, message.Type+" "+message.Data.Network)
		}
		slices.Sort(got)
		want := []string{
			fmt.Sprint("IssuedAPIKeyCreated ", first), fmt.Sprint("IssuedAPIKeyCreated ", second),
			fmt.Sprint("key.expiring ", first), fmt.Sprint("key.expiring ", second),
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}
