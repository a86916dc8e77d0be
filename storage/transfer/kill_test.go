package transfer_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/storage"
)

// The test binary with these variables copies one database to another, and follows it until it is killed.
const copyFromEnv, copyToEnv = "TALOS_TEST_COPY_FROM", "TALOS_TEST_COPY_TO"

// copyUntilKilled names each step of a copy on standard output, and goes on when it is told to.
func copyUntilKilled(from, to string) error {
	in := bufio.NewReader(os.Stdin)
	_, err := storage.Copy(context.Background(), from, to, storage.Options{}, storage.CopyOptions{
		Progress: func(p storage.CopyProgress) {
			fmt.Println(p.Step)
			_, _ = in.ReadString('\n') // the end of the parent is as good
		},
		Follow: &storage.CopyFollow{},
	})
	return err
}

// killedAt copies with another process, which is killed at a step.
func killedAt(t *testing.T, step, from, to string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), copyFromEnv+"="+from, copyToEnv+"="+to)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	reached := false
	for lines := bufio.NewScanner(out); !reached && lines.Scan(); {
		if reached = lines.Text() == step; !reached {
			_, err := fmt.Fprintln(in)
			must(t, err)
		}
	}
	must(t, cmd.Process.Kill())
	if err := cmd.Wait(); err == nil || !reached {
		t.Fatalf("it ended before %q: %v", step, err)
	}
}

func TestAttack21_ACopyThatIsKilledIsOpenedByNoNodeAndBegunAnew(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"copy keys", "copy events", "check keys", "follow"} {
		t.Run("at "+step, func(t *testing.T) {
			t.Parallel()
			eachTarget(t, func(t *testing.T, from, to string) {
				t.Helper()
				source := open(t, from)
				h := newHistory(source, 6, "k")
				h.run(t, 50)
				killedAt(t, step, from, to)
				wantUnusable(t, to)
				must(t, h.create(t.Context())) // what the second copy finds is not what the first one found
				want := contentOf(t, source)
				copied(t, from, to)
				wantCopy(t, open(t, to), want)
			})
		})
	}
}

// wantUnusable checks that a node that opens a database is refused.
func wantUnusable(t *testing.T, dsn string) {
	t.Helper()
	s, err := storage.Open(t.Context(), dsn, storage.Options{})
	if err == nil {
		_ = s.Close()
	}
	wantReason(t, err, core.FailedPrecondition)
}
