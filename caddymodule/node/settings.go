package node

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/talos-edge/talos-edge/core/verify"
)

// settings are everything that makes two nodes different.
type settings struct {
	networks  []*networkSettings // one without hosts, or those of the option network
	cache     verify.Config
	rateLimit string
	kind      kind
	key       string // names the node in the pool; reveals nothing about the secrets
}

// expander replaces the placeholders of options. One that is unknown or empty is an error, above all because an empty
// secret would otherwise be taken for one that is not given.
type expander struct {
	repl *caddy.Replacer
	errs []error
}

func (e *expander) text(option string, fields ...*string) {
	for _, field := range fields {
		expanded, err := e.repl.ReplaceOrErr(*field, true, true)
		if err != nil {
			e.errs = append(e.errs, fmt.Errorf("%s: %w", option, err))
		}
		*field = expanded
	}
}

// retired expands retired values, of which none may be empty.
func (e *expander) retired(option string, fields []string) {
	for i := range fields {
		e.text(option, &fields[i])
		if fields[i] == "" {
			e.errs = append(e.errs, fmt.Errorf("%s: a retired value is empty", option))
		}
	}
}

// expand replaces the placeholders of the configuration.
func (a *App) expand() error {
	e := &expander{repl: caddy.NewReplacer()}
	a.KeyOptions.expand(e)
	e.text("storage", &a.Storage)
	e.text("rate_limit", &a.RateLimit)
	e.text("edge_id", &a.EdgeID)
	if a.Upstream != nil {
		a.Upstream.texts(func(option string, field *string) { e.text(option, field) })
	}
	for i := range a.Webhooks {
		w := &a.Webhooks[i]
		e.text("webhook", &w.URL)
		e.text("webhook: secret", &w.Secret)
		for j := range w.Types {
			e.text("webhook: types", &w.Types[j])
		}
	}
	for i := range a.Networks {
		a.Networks[i].expand(e)
	}
	return errors.Join(e.errs...)
}

// secretOriginOf says where the value of the option hmac_secret comes from: an environment variable or a file, if the
// option is nothing but its placeholder. It repeats no value.
func secretOriginOf(text string) string {
	inner, begins := strings.CutPrefix(text, "{")
	inner, ends := strings.CutSuffix(inner, "}")
	source, name, _ := strings.Cut(inner, ".")
	switch {
	case !begins, !ends, strings.ContainsAny(inner, "{}"):
	case source == "env":
		return "the environment variable " + name
	case source == "file":
		return "the file " + name
	}
	return "the option hmac_secret"
}

// resolve checks the configuration and returns its settings. It reads nothing but paths.
func (a *App) resolve() (settings, error) {
	if a.Upstream != nil {
		return a.resolveSidecar()
	}
	return a.resolveEmbedded()
}

// resolveCommon resolves what both kinds of node have.
func (a *App) resolveCommon(s *settings) (err error) {
	if s.rateLimit, err = rateLimitMode(a.RateLimit); err != nil {
		return fmt.Errorf("rate_limit: %w", err)
	}
	if s.cache, err = a.Cache.resolve(); err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	return nil
}

// poolSalt keeps pool keys from revealing the secrets among the settings.
var poolSalt = rand.Text()

// hash makes a pool key of the settings that every node has, and of its own.
func (s *settings) hash(own ...[]string) string {
	h := sha256.New()
	fields := [][]string{{poolSalt, s.rateLimit, fmt.Sprintf("%+v", s.cache), strconv.Itoa(len(s.networks))}}
	for _, n := range s.networks {
		fields = append(fields, n.fields()...)
	}
	for _, list := range append(fields, own...) {
		_ = binary.Write(h, binary.BigEndian, uint64(len(list)))
		for _, f := range list {
			_ = binary.Write(h, binary.BigEndian, uint64(len(f)))
			_, _ = h.Write([]byte(f))
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// resolve checks the cache's configuration, of which nil is the default.
func (c *Cache) resolve() (verify.Config, error) {
	switch {
	case c == nil:
		return verify.Config{}, nil
	case c.Off && *c != (Cache{Off: true}):
		return verify.Config{}, errors.New("off cannot be combined with other cache options")
	}
	cfg := verify.Config{
		Off:          c.Off,
		TTL:          time.Duration(c.TTL),
		TTLConnected: time.Duration(c.TTLConnected),
		NegativeTTL:  orOff(c.NegativeTTL),
		StaleIfError: orOff(c.StaleIfError),
		MaxBytes:     c.MaxSize,
	}
	return cfg, cfg.Validate()
}

// orOff tells verify what an optional duration means, of which nil is the default and 0 is off.
func orOff(d *Duration) time.Duration {
	switch {
	case d == nil:
		return 0
	case *d == 0:
		return -1
	default:
		return time.Duration(*d)
	}
}
