package command

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// home is a place for the data of servers, and the environment that leads them there.
func home(t *testing.T, vars ...string) (dir string, env []string) {
	t.Helper()
	dir = t.TempDir()
	env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir,
		"XDG_DATA_HOME=" + filepath.Join(dir, "data"), "XDG_CONFIG_HOME=" + filepath.Join(dir, "config"),
	}, vars...)
	return dir, env
}

// server is a running `talos serve`.
type server struct {
	endpoint string
	metrics  string // of a proxy
	cmd      *exec.Cmd
	stopped  bool
	exited   chan error

	mu     sync.Mutex
	stderr bytes.Buffer
}

// serveBinary starts the binary on a free port and waits until it says that it serves.
func serveBinary(t *testing.T, env []string, args ...string) *server {
	t.Helper()
	return serveProgram(t, binary(t), env, args...)
}

// serveProgram is serveBinary for another build.
func serveProgram(t *testing.T, program string, env []string, args ...string) *server {
	t.Helper()
	for range 5 { // somebody may take the port that was free
		ln := listen(t)
		ln.close()
		s, err := tryProgram(t, program, append(slices.Clone(env), envPort+"="+strconv.Itoa(int(ln.port))),
			append([]string{"serve"}, args...)...)
		if err == nil {
			s.endpoint = "http://127.0.0.1:" + strconv.Itoa(int(ln.port))
			return s
		}
		if !strings.Contains(err.Error(), "address already in use") {
			t.Fatal(err)
		}
	}
	t.Fatal("no port is free")
	return nil
}

// tryCommand starts a command that serves, or follows a database, and waits until it says so.
func tryCommand(t *testing.T, env []string, args ...string) (*server, error) {
	t.Helper()
	return tryProgram(t, binary(t), env, args...)
}

func tryProgram(t *testing.T, program string, env []string, args ...string) (*server, error) {
	t.Helper()
	s := &server{cmd: exec.Command(program, args...), exited: make(chan error, 1)}
	s.cmd.Env = env
	pipe, err := s.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	serving := make(chan struct{})
	go func() {
		var once sync.Once
		for lines := bufio.NewScanner(pipe); lines.Scan(); {
			s.mu.Lock()
			s.stderr.WriteString(lines.Text() + "\n")
			s.mu.Unlock()
			if strings.HasPrefix(lines.Text(), "talos: serving") || strings.HasPrefix(lines.Text(), "following") {
				once.Do(func() { close(serving) })
			}
		}
		s.exited <- s.cmd.Wait()
	}()
	select {
	case <-serving:
		t.Cleanup(func() { _ = s.stop(t, syscall.SIGKILL) })
		return s, nil
	case err := <-s.exited:
		return nil, fmt.Errorf("serve ended: %w\n%s", err, s.log())
	}
}

func (s *server) log() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stderr.String()
}

// stop ends the server and returns how it ended. A second call does nothing.
func (s *server) stop(t *testing.T, sig syscall.Signal) error {
	t.Helper()
	if s.stopped {
		return nil
	}
	if err := s.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
	return s.wait()
}

// wait waits for the end of the process, and returns how it ended.
func (s *server) wait() error {
	s.stopped = true
	return <-s.exited
}

// talos runs a client command against the server.
func (s *server) talos(t *testing.T, args ...string) (stdout string, exit int) {
	t.Helper()
	return runBinary(t, []string{"TALOS_URL=" + s.endpoint, "HOME=" + t.TempDir()}, args...)
}

func runBinary(t *testing.T, env []string, args ...string) (stdout string, exit int) {
	t.Helper()
	stdout, _, exit = runBinaryBoth(t, env, args...)
	return stdout, exit
}

func runBinaryBoth(t *testing.T, env []string, args ...string) (stdout, stderr string, exit int) {
	t.Helper()
	cmd := exec.Command(binary(t), args...)
	cmd.Env = env
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if exited, ok := errors.AsType[*exec.ExitError](err); ok {
		t.Logf("talos %s: exit status %d: %s", args[0], exited.ExitCode(), errs.String())
		return out.String(), errs.String(), exited.ExitCode()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), 0
}

// issue issues a key and returns its secret and its id.
func (s *server) issue(t *testing.T, args ...string) (secret, keyID string) {
	t.Helper()
	out, exit := s.talos(t, append([]string{"keys", "issue", "ci", "--actor", "bot", "--format", "json"}, args...)...)
	var answer struct {
		Secret string `json:"secret"`
		Key    struct {
			ID string `json:"key_id"`
		} `json:"issued_api_key"`
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil || exit != 0 {
		t.Fatalf("issue: exit status %d, %v: %s", exit, err, out)
	}
	return answer.Secret, answer.Key.ID
}

// wantVerdict verifies a credential with the command line.
func (s *server) wantVerdict(t *testing.T, secret string, valid bool) {
	t.Helper()
	out, exit := s.talos(t, "keys", "verify", secret, "-q")
	want, wantExit := "true\n", 0
	if !valid {
		want, wantExit = "false\n", exitInvalid
	}
	if out != want || exit != wantExit {
		t.Errorf("verify: %q and exit status %d, want %q and %d", out, exit, want, wantExit)
	}
}
