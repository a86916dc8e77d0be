//go:build unix

package sqlite

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/engine"
)

// TestAttack05_AStoppedProcessAdmitsNoRevokedKey stops a node (SIGSTOP), revokes a key that it
// has cached in this process, and lets it go on. The requests wait in a pipe, so that it meets them before all else.
func TestAttack05_AStoppedProcessAdmitsNoRevokedKey(t *testing.T) {
	t.Parallel()
	const requests, pause = 200, 4 * lease
	path := newDatabase(t).path
	s := openAt(t, path, Options{})
	keys, err := testEngine(s)
	must(t, err)
	node := startVerifier(t, path)
	valid, revoked := fmt.Sprintf("code %d hit", core.CodeValid), fmt.Sprintf("code %d", core.CodeRevoked)
	for range 5 {
		key, secret, err := keys.Issue(t.Context(), engine.IssueRequest{Name: "n", ActorID: "alice"})
		must(t, err)
		secret += "\n"
		eventually(t, "the node has cached the key", func() bool {
			node.ask(t, secret)
			return node.answer(t) == valid
		})
		node.stop(t)
		<-time.After(pause)
		_, err = keys.Revoke(t.Context(), core.Issued, key.ID, engine.RevokeRequest{})
		must(t, err)
		node.ask(t, strings.Repeat(secret, requests))
		must(t, node.cmd.Process.Signal(syscall.SIGCONT))
		admitted := 0
		for range requests {
			switch got := node.answer(t); {
			case got == valid:
				admitted++
			case !strings.HasPrefix(got, revoked):
				t.Errorf("answered %q", got)
			}
		}
		if admitted > 0 {
			t.Errorf("%d of %d requests were admitted after the revocation", admitted, requests)
		}
	}
}

// verifierProcess is a process that runs verifyUntilClosed.
type verifierProcess struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

func startVerifier(t *testing.T, path string) *verifierProcess {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), verifierEnv+"="+path)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Process.Signal(syscall.SIGCONT)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the node: %v", err)
		}
	})
	return &verifierProcess{cmd, in, bufio.NewScanner(out)}
}

func (p *verifierProcess) ask(t *testing.T, lines string) {
	t.Helper()
	_, err := io.WriteString(p.in, lines)
	must(t, err)
}

func (p *verifierProcess) answer(t *testing.T) string {
	t.Helper()
	if !p.out.Scan() {
		t.Fatalf("the node ended: %v", p.out.Err())
	}
	return p.out.Text()
}

// stop stops the process, and returns when it stands still.
func (p *verifierProcess) stop(t *testing.T) {
	t.Helper()
	must(t, p.cmd.Process.Signal(syscall.SIGSTOP))
	var status syscall.WaitStatus
	for !status.Stopped() {
		_, err := syscall.Wait4(p.cmd.Process.Pid, &status, syscall.WUNTRACED, nil)
		must(t, err)
	}
}
