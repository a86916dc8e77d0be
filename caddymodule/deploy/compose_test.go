package deploy_test

import (
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// compose is a Compose file: what of its specification ours uses, and nothing else.
type compose struct {
	Name     string             `yaml:"name"`
	Services map[string]service `yaml:"services"`
	Networks map[string]struct {
		Internal bool `yaml:"internal"`
	} `yaml:"networks"`
	Volumes map[string]struct{} `yaml:"volumes"`
}

type service struct {
	Image string `yaml:"image"`
	Build struct {
		Context    string `yaml:"context"`
		Dockerfile string `yaml:"dockerfile"`
	} `yaml:"build"`
	Command     []string          `yaml:"command"`
	Restart     string            `yaml:"restart"`
	ReadOnly    bool              `yaml:"read_only"`
	CapDrop     []string          `yaml:"cap_drop"`
	SecurityOpt []string          `yaml:"security_opt"`
	MemLimit    string            `yaml:"mem_limit"`
	Environment map[string]string `yaml:"environment"`
	Healthcheck struct {
		Disable bool `yaml:"disable"`
	} `yaml:"healthcheck"`
	Ports     []string `yaml:"ports"`
	Volumes   []string `yaml:"volumes"`
	Networks  []string `yaml:"networks"`
	DependsOn []string `yaml:"depends_on"`
}

func readCompose(t *testing.T) (c compose) {
	t.Helper()
	decode(t, "container/compose.yaml", &c)
	return c
}

// mounts are a service's files and volumes, by their place in the container.
func (s service) mounts(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, v := range s.Volumes {
		parts := strings.Split(v, ":")
		if len(parts) < 2 || strings.HasPrefix(parts[0], ".") && (len(parts) != 3 || parts[2] != "ro") {
			t.Errorf("the volume %s: files are mounted read-only", v)
			continue
		}
		all[parts[1]] = parts[0]
	}
	return all
}

func TestCompose_NamesWhatIsThere(t *testing.T) {
	t.Parallel()
	c := readCompose(t)
	for name, s := range c.Services {
		if b := s.Build; b.Context != "" {
			if _, err := os.Stat(filepath.Join("container", b.Context, b.Dockerfile)); err != nil {
				t.Error(err)
			}
			if path.Join("container", b.Context) != root {
				t.Errorf("%s is built in %s, not at the root of the repository", name, b.Context)
			}
		}
		mounts := s.mounts(t)
		for at, from := range mounts {
			if strings.HasPrefix(from, ".") {
				if _, err := os.Stat(filepath.Join("container", from)); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			} else if _, ok := c.Volumes[from]; !ok {
				t.Errorf("%s: no volume %s, for %s", name, from, at)
			}
		}
		for _, arg := range s.Command {
			if _, file, _ := strings.Cut(arg, "/etc/"); file != "" && mounts["/etc/"+file] == "" {
				t.Errorf("%s reads /etc/%s, which is not mounted", name, file)
			}
		}
		for _, n := range s.Networks {
			if _, ok := c.Networks[n]; !ok {
				t.Errorf("%s: no network %s", name, n)
			}
		}
		for _, other := range s.DependsOn {
			if _, ok := c.Services[other]; !ok {
				t.Errorf("%s: no service %s", name, other)
			}
		}
	}
	if rule := c.Services["prometheus"].mounts(t)["/etc/prometheus/rules.yml"]; rule == "" {
		t.Error("the alert rules are not mounted where prometheus.yml reads them")
	}
}

func TestCompose_OpensNothingButTheGate(t *testing.T) {
	t.Parallel()
	c := readCompose(t)
	for name, s := range c.Services {
		if !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%s keeps privileges", name)
		}
		for _, p := range s.Ports {
			if !strings.HasPrefix(p, "127.0.0.1:") {
				t.Errorf("%s is open to other machines at %s", name, p)
			}
		}
		if name != "gate" && name != "app" && slices.Contains(s.Networks, "app") {
			t.Errorf("%s reaches the app around the gate", name)
		}
	}
	app := c.Services["app"]
	if !slices.Equal(app.Networks, []string{"app"}) || !c.Networks["app"].Internal || len(app.Ports) > 0 {
		t.Errorf("the app can be reached around the gate: %+v", app)
	}
	if gate := c.Services["gate"]; !gate.ReadOnly || !app.ReadOnly {
		t.Error("the root file system can be written")
	}
}
