package engine

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/credential"
)

// DefaultMaxTTL is the longest lifetime that a key can be given where the operator sets no other.
const DefaultMaxTTL = 8760 * time.Hour

// DefaultIssuer is the issuer where none is configured.
const DefaultIssuer = "http://localhost"

// Config says which network an [Engine] serves, and how.
type Config struct {
	Network  core.NetworkID
	Issuer   string              // default DefaultIssuer
	Keyring  *credential.Keyring // required
	Prefixes credential.Prefixes

	// SigningKeys sign and verify derived JWTs. Without them (nil) none can be derived and none verifies.
	SigningKeys *credential.SigningKeys

	// RetiredIssuers are issuers whose tokens still verify.
	RetiredIssuers []string

	// ClockSkew is the leeway for the times that tokens name; those of keys have none. Default DefaultClockSkew;
	// negative: none.
	ClockSkew time.Duration

	DefaultTTL time.Duration // of keys that are issued without a ttl; 0: they do not expire
	MaxTTL     time.Duration // default DefaultMaxTTL
	KeyQuota   int64         // how many keys may be active and unexpired, of both kinds together; 0: no limit

	// Shared is what this engine has in common with those of other networks in the same store. nil: it is alone.
	Shared *Shared
}

// Shared is the memory that the engines of several networks in one store have in common, so that it is bounded however
// many there are. It keeps them apart. The zero value is ready.
type Shared struct {
	memo tokenMemo
	tail eventTail
}

// Engine is one network's keys: it issues, shows, revokes and judges them. It is safe for concurrent use.
type Engine struct {
	network    core.NetworkID
	issuer     string
	keyring    *credential.Keyring
	format     *credential.Format
	signing    *credential.SigningKeys // nil: no JWTs
	issuers    map[string]bool         // of tokens: the current and the retired ones
	skew       time.Duration
	memoKey    memoKey
	defaultTTL time.Duration
	maxTTL     time.Duration
	quota      int64
	store      core.Store
	shared     *Shared
}

// New makes an engine over a store, which stays the caller's to close.
func New(cfg Config, store core.Store) (*Engine, error) {
	if cfg.Keyring == nil {
		return nil, errors.New("an HMAC secret is required")
	}
	format, err := credential.NewFormat(cfg.Network, cfg.Keyring, cfg.Prefixes)
	if err != nil {
		return nil, err
	}
	e := &Engine{
		network:    cfg.Network,
		issuer:     cfg.Issuer,
		keyring:    cfg.Keyring,
		format:     format,
		signing:    cfg.SigningKeys,
		issuers:    make(map[string]bool),
		skew:       cfg.ClockSkew,
		memoKey:    newMemoKey(),
		defaultTTL: cfg.DefaultTTL,
		maxTTL:     cfg.MaxTTL,
		quota:      cfg.KeyQuota,
		store:      store,
		shared:     cfg.Shared,
	}
	if e.shared == nil {
		e.shared = new(Shared)
	}
	if e.issuer == "" {
		e.issuer = DefaultIssuer
	}
	for _, issuer := range append([]string{e.issuer}, cfg.RetiredIssuers...) {
		e.issuers[issuer] = true
	}
	if e.skew == 0 {
		e.skew = DefaultClockSkew
	}
	e.skew = max(e.skew, 0)
	if e.maxTTL == 0 {
		e.maxTTL = DefaultMaxTTL
	}
	if e.quota < 0 {
		return nil, errors.New("key_quota must be 0 (no limit) or more")
	}
	if e.maxTTL < time.Second || e.maxTTL > core.MaxTTL {
		return nil, errors.New("max_ttl must lie between 1s and 315360000s (10 years)")
	}
	if e.defaultTTL != 0 && (e.defaultTTL < time.Second || e.defaultTTL > e.maxTTL) {
		return nil, errors.New("default_ttl must be 0 or lie between 1s and max_ttl")
	}
	return e, nil
}

// Claim compares the engine's secrets with those that the stored keys were made with. With others than those no key
// would verify, so a node that gets an error here must not serve.
func (e *Engine) Claim(ctx context.Context) error {
	return e.store.ClaimSecret(ctx, e.network, e.keyring.Checks())
}

// UnknownPrefixes returns how many stored keys have a prefix that is not among the configured ones, current or retired:
// they are not found. Keys whose prefix was not recorded are left out.
func (e *Engine) UnknownPrefixes(ctx context.Context) ([]core.PrefixCount, error) {
	all, err := e.store.Prefixes(ctx, e.network)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(c core.PrefixCount) bool {
		return c.Prefix == "" || e.format.Accepts(c.Prefix)
	}), nil
}

// Ready returns nil when the store answers.
func (e *Engine) Ready(ctx context.Context) error { return e.store.Ping(ctx) }

// Get returns a key of a kind, or [core.KeyNotFound].
func (e *Engine) Get(ctx context.Context, kind core.Kind, keyID string) (core.Key, error) {
	key, err := e.store.Get(ctx, e.network, keyID)
	if err != nil {
		return core.Key{}, err
	}
	if kind != core.AnyKind && key.Kind != kind {
		return core.Key{}, errKeyNotFound()
	}
	return key, nil
}

func errKeyNotFound() error { return core.NewError(core.KeyNotFound, "no such key") }

// now is the time as a store holds it: UTC, in microseconds.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
