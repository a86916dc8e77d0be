package caddymodule_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/talos-edge/talos-edge/adminapi/client"
)

func TestAttack21_ALinkThatLeadsElsewhereIsNoticed(t *testing.T) {
	s := newSolo(t)
	current := filepath.Join(s.folder, "current")
	for _, name := range []string{"blue", "green"} {
		if err := os.Mkdir(filepath.Join(s.folder, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	point := func(to string) {
		t.Helper()
		if err := os.Symlink(filepath.Join(s.folder, to), current+"-new"); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(current+"-new", current); err != nil {
			t.Fatal(err)
		}
	}
	point("blue")
	s.mustLoad("talos {\nstorage sqlite://FOLDER/current/talos.db\n}", "http://:PORT {\nbind 127.0.0.1\ntalos_admin\n}")
	c, err := client.New(s.endpoint)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	issue := func() error {
		_, err := c.Issue(t.Context(), client.IssueRequest{Name: "n", ActorID: "a"})
		return err
	}
	if err := issue(); err != nil {
		t.Fatal(err)
	}
	point("green")
	if err := issue(); err == nil {
		t.Error("a change was acknowledged that a restart would not find")
	}
	point("blue")
	if err := issue(); err != nil {
		t.Errorf("after the link was put back: %v", err)
	}
}
