package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"

	"github.com/talos-edge/talos-edge/adminapi"
	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core/credential"
	"github.com/talos-edge/talos-edge/core/engine"
	"github.com/talos-edge/talos-edge/core/verify"
	"github.com/talos-edge/talos-edge/storage"
)

// serve starts the API over a new SQLite database, and returns its endpoint.
func serve() (endpoint string, stop func()) {
	dir := must(os.MkdirTemp("", "talos-example-"))
	store := must(storage.Open(context.Background(), "sqlite://"+filepath.ToSlash(filepath.Join(dir, "talos.db")),
		storage.Options{}))
	keyring := must(credential.NewKeyring("an HMAC secret for examples, long enough"))
	keys := must(engine.New(engine.Config{Keyring: keyring}, store))
	verifier := must(verify.New(verify.Config{}, keys))
	network := adminapi.Network{Keys: keys, Verifier: verifier}
	server := httptest.NewServer(adminapi.Admin(adminapi.Options{
		Network: func(*http.Request) (adminapi.Network, error) { return network, nil },
	}))
	return server.URL, func() {
		server.Close()
		verifier.Close()
		_ = store.Close()
		_ = os.RemoveAll(dir)
	}
}

// connect starts the API, and returns a client of it.
func connect() (api *client.Client, stop func()) {
	endpoint, stopServer := serve()
	api = must(client.New(endpoint))
	return api, func() {
		api.Close()
		stopServer()
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// A key is issued, and its secret verified.
func Example() {
	endpoint, stop := serve()
	defer stop()
	ctx := context.Background()

	api, err := client.New(endpoint) // the private listener, such as http://localhost:4420
	check(err)
	defer api.Close()

	made, err := api.Issue(ctx, client.IssueRequest{
		Name: "ci", ActorID: "deploy-bot", Scopes: []string{"deploy:write"}, TTL: "90d",
	})
	check(err)

	verdict, err := api.Verify(ctx, made.Secret) // the secret is shown this once
	check(err)
	fmt.Println(verdict.IsValid, verdict.ActorID, verdict.Scopes)

	// Output:
	// true deploy-bot [deploy:write]
}

// All keys of an actor are listed. The iterator reads as many pages as it takes.
func ExampleClient_List() {
	api, stop := connect()
	defer stop()
	ctx := context.Background()
	for _, name := range []string{"first", "second", "third"} {
		_, err := api.Issue(ctx, client.IssueRequest{Name: name, ActorID: "alice"})
		check(err)
	}

	for key, err := range api.List(ctx, client.ListRequest{Filter: `actor_id="alice"`, PageSize: 2}) {
		if err != nil {
			panic(err) // the first error ends the list
		}
		fmt.Println(key.Name, key.Status)
	}

	// Output:
	// first KEY_STATUS_ACTIVE
	// second KEY_STATUS_ACTIVE
	// third KEY_STATUS_ACTIVE
}

// The feed has each change of a key. With Wait in the request, the loop would go on with changes to come.
func ExampleClient_Events() {
	api, stop := connect()
	defer stop()
	ctx := context.Background()
	made, err := api.Issue(ctx, client.IssueRequest{Name: "laptop", ActorID: "alice"})
	check(err)
	check(api.Revoke(ctx, client.RevokeRequest{KeyID: made.IssuedAPIKey.KeyID}))

	for event, err := range api.Events(ctx, client.EventsRequest{Filter: `actor_id="alice"`}) {
		if err != nil {
			panic(err) // the first error ends the loop; ErrEventsMissed: some are not kept any more
		}
		fmt.Println(event.Position, event.Type, event.ActorID, event.Caller.Kind)
	}

	// Output:
	// 1 IssuedAPIKeyCreated alice address
	// 2 IssuedAPIKeyRevoked alice address
}

// When Revoke has returned, the server admits the key no more.
func ExampleClient_Revoke() {
	api, stop := connect()
	defer stop()
	ctx := context.Background()
	made, err := api.Issue(ctx, client.IssueRequest{Name: "laptop", ActorID: "alice"})
	check(err)

	err = api.Revoke(ctx, client.RevokeRequest{
		KeyID: made.IssuedAPIKey.KeyID, Reason: client.RevocationReasonKeyCompromise,
	})
	check(err)
	verdict, err := api.Verify(ctx, made.Secret)
	check(err)
	fmt.Println(verdict.IsValid, verdict.ErrorCode)

	// Output:
	// false VERIFICATION_ERROR_REVOKED
}

// Any number of credentials is verified, with one call for each hundred.
func ExampleClient_BatchVerify() {
	api, stop := connect()
	defer stop()
	ctx := context.Background()
	made, err := api.Issue(ctx, client.IssueRequest{Name: "ci", ActorID: "deploy-bot"})
	check(err)

	verdicts, err := api.BatchVerify(ctx, []string{made.Secret, "not-a-key"})
	check(err)
	for i, v := range verdicts { // in the order of the credentials
		if v.IsValid {
			fmt.Println(i, v.ActorID)
		} else {
			fmt.Println(i, v.ErrorCode)
		}
	}

	// Output:
	// 0 deploy-bot
	// 1 VERIFICATION_ERROR_NOT_FOUND
}

// A refusal has a reason, for programs.
func ExampleError() {
	api, stop := connect()
	defer stop()
	ctx := context.Background()

	_, err := api.Get(ctx, client.GetRequest{KeyID: "00000000-0000-4000-8000-000000000000"})
	refused, ok := errors.AsType[*client.Error](err)
	switch {
	case err == nil:
		fmt.Println("found")
	case ok && refused.Reason == client.ReasonKeyNotFound:
		fmt.Println("there is no such key")
	case ok && refused.RetryAfter > 0:
		fmt.Println("try again in", refused.RetryAfter)
	default:
		panic(err)
	}

	// Output:
	// there is no such key
}
