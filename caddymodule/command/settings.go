package command

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/caddyserver/caddy/v2"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/credential"
	"github.com/talos-edge/talos-edge/storage"
)

// The variables that serve reads. An empty one counts as absent.
const (
	envCurrent         = "TALOS_SECRETS_HMAC_CURRENT"
	envRetired         = "TALOS_SECRETS_HMAC_RETIRED"
	envIssuer          = "TALOS_CREDENTIALS_ISSUER"
	envDSN             = "TALOS_DB_DSN"
	envHost            = "TALOS_SERVE_HTTP_HOST"
	envPort            = "TALOS_SERVE_HTTP_PORT"
	envProxies         = "TALOS_SERVE_HTTP_TRUSTED_PROXIES"
	envPrefix          = "TALOS_CREDENTIALS_API_KEYS_PREFIX_CURRENT"
	envRetiredPrefixes = "TALOS_CREDENTIALS_API_KEYS_PREFIX_RETIRED"
	envMaxTTL          = "TALOS_CREDENTIALS_API_KEYS_MAX_TTL"
	envTTL             = "TALOS_CACHE_TTL"
	envSigningKeys     = "TALOS_SIGNING_KEYS"
)

const defaultPort = 4420

// settings are what serve runs with. Secrets and connection strings are not among them: a configuration refers to their
// variables.
type settings struct {
	hosts []string // addresses to listen on; nil: loopback, IPv4 and, where there is one, IPv6
	port  uint16

	trustedProxies  []string // CIDRs, or private_ranges
	issuer          string
	keyPrefix       string
	retiredPrefixes []string
	maxTTL          string
	cacheTTL        string
	cacheOff        bool

	// Names of variables.
	dsn         string
	hmacSecret  string
	signingKeys string
	retired     []string

	// derived are variables that serve must set before the configuration is loaded: a list cannot be referred to, so
	// each of its members gets a variable.
	derived map[string]string

	data string // where the keys are, to be shown
}

// loopback says whether nothing but this machine can connect.
func (s *settings) loopback() bool {
	for _, h := range s.hosts {
		if a, err := netip.ParseAddr(h); err != nil || !a.IsLoopback() {
			return false
		}
	}
	return true
}

// readSettings reads the settings from the environment. An error names the variable; it repeats no secret.
func readSettings(getenv func(string) string) (*settings, error) {
	s := &settings{port: defaultPort}
	for _, v := range []struct {
		name string
		read func(*settings, string) error
	}{
		{envHost, (*settings).setHost},
		{envPort, (*settings).setPort},
		{envProxies, (*settings).setProxies},
		{envIssuer, (*settings).setIssuer},
		{envPrefix, (*settings).setPrefix},
		{envRetiredPrefixes, (*settings).setRetiredPrefixes},
		{envMaxTTL, (*settings).setMaxTTL},
		{envTTL, (*settings).setCacheTTL},
		{envDSN, (*settings).setDSN},
		{envCurrent, (*settings).setSecret},
		{envSigningKeys, (*settings).setSigningKeys},
	} {
		if value := getenv(v.name); value != "" {
			if err := v.read(s, value); err != nil {
				return nil, fmt.Errorf("%s: %w", v.name, err)
			}
		}
	}
	if s.data == "" {
		s.data = defaultDatabase()
	}
	if list := getenv(envRetired); list != "" {
		if err := s.setRetired(getenv(envCurrent), list); err != nil {
			return nil, fmt.Errorf("%s: %w", envRetired, err)
		}
	}
	return s, nil
}

// defaultDatabase is the file that serve keeps keys in by default.
func defaultDatabase() string { return filepath.Join(caddy.AppDataDir(), "talos.db") }

func (s *settings) setHost(v string) error {
	if v == "localhost" {
		return nil
	}
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(v, "["), "]"))
	if err != nil || a.Zone() != "" {
		return errors.New("must be an IP address or localhost")
	}
	s.hosts = []string{a.String()}
	return nil
}

func (s *settings) setPort(v string) error {
	var err error
	s.port, err = portNumber(v)
	return err
}

func (s *settings) setProxies(v string) error {
	for _, p := range fields(v) {
		_, errAddr := netip.ParseAddr(p)
		_, errRange := netip.ParsePrefix(p)
		if errAddr != nil && errRange != nil && p != "private_ranges" {
			return errors.New("must be addresses or ranges such as 10.0.0.0/8, or private_ranges, separated by commas")
		}
		s.trustedProxies = append(s.trustedProxies, p)
	}
	return nil
}

func (s *settings) setIssuer(v string) error {
	if u, err := url.Parse(v); err != nil || !u.IsAbs() || u.Fragment != "" || !plain(v) {
		return errors.New("must be an absolute URI such as https://api.example.com")
	}
	s.issuer = v
	return nil
}

func (s *settings) setPrefix(v string) error {
	if _, err := credential.NewFormat(uuid.Nil, nil, credential.Prefixes{Secret: v}); err != nil {
		return err
	}
	s.keyPrefix = v
	return nil
}

// setRetiredPrefixes comes after setPrefix: no prefix may be given twice.
func (s *settings) setRetiredPrefixes(v string) error {
	s.retiredPrefixes = fields(v)
	prefixes := credential.Prefixes{Secret: s.keyPrefix, RetiredSecret: s.retiredPrefixes}
	_, err := credential.NewFormat(uuid.Nil, nil, prefixes)
	return err
}

func (s *settings) setMaxTTL(v string) error {
	d, err := core.ParseDuration(v)
	if err != nil {
		return err
	}
	if d < time.Second || d > core.MaxTTL {
		return fmt.Errorf("must be a duration between 1s and %s", core.FormatSeconds(core.MaxTTL))
	}
	s.maxTTL = v
	return nil
}

func (s *settings) setCacheTTL(v string) error {
	d, err := core.ParseDuration(v)
	if err != nil {
		return err
	}
	if d != 0 && d < time.Second {
		return errors.New("must be 0, for no cache, or at least 1s")
	}
	s.cacheTTL, s.cacheOff = v, d == 0
	return nil
}

func (s *settings) setDSN(v string) error {
	if _, err := storage.Canonical(v); err != nil {
		return err // without the password
	}
	s.dsn, s.data = envDSN, storage.Display(v)
	return nil
}

func (s *settings) setSecret(v string) error {
	if _, err := credential.NewKeyring(v); err != nil {
		return err
	}
	s.hmacSecret = envCurrent
	return nil
}

// setSigningKeys takes the place of the keys, which is read when the node starts.
func (s *settings) setSigningKeys(string) error {
	s.signingKeys = envSigningKeys
	return nil
}

// setRetired takes the retired secrets: one, or several with commas between.
func (s *settings) setRetired(current, list string) error {
	if current == "" {
		return fmt.Errorf("needs %s, which is not set", envCurrent)
	}
	secrets := fields(list)
	if _, err := credential.NewKeyring(current, secrets...); err != nil {
		return err
	}
	if len(secrets) == 1 && secrets[0] == list {
		s.retired = []string{envRetired}
		return nil
	}
	s.derived = make(map[string]string, len(secrets))
	for i, secret := range secrets {
		name := envRetired + "_" + strconv.Itoa(i+1)
		s.retired = append(s.retired, name)
		s.derived[name] = secret
	}
	return nil
}

// setDerived sets the variables that the configuration refers to beside the given ones.
func (s *settings) setDerived() error {
	for name, value := range s.derived {
		if err := os.Setenv(name, value); err != nil {
			return fmt.Errorf("setting %s: %w", name, err)
		}
	}
	return nil
}

// fields splits a list at commas and drops the space around its members and empty ones.
func fields(list string) []string {
	var out []string
	for f := range strings.SplitSeq(list, ",") {
		if f = strings.TrimSpace(f); f != "" {
			out = append(out, f)
		}
	}
	return out
}

// plain says whether text can be written into a Caddyfile as it is: it neither ends a token nor refers to anything.
func plain(s string) bool {
	return s != "" && s[0] != '#' && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune("{}\"`\\", r)
	})
}
