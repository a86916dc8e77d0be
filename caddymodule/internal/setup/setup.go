package setup

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/caddyserver/certmagic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/talos-edge/talos-edge/caddymodule/node"
)

// Setup is a configuration that was read.
type Setup struct {
	Admin   caddy.AdminConfig            // Caddy's own admin endpoint
	Servers map[string]*caddyhttp.Server // of the app http, as they are written: none of their modules is loaded
	HTTP    Ports

	App     *node.App         // provisioned and not started
	Node    node.Inspection   // what App would open
	Storage certmagic.Storage // where generated secrets are

	// SecretSource and SigningKeysSource say where a configured secret comes from, for people: its placeholders, or
	// the configuration itself. They hold no secret, and are not about those of the option network. Empty: the secret
	// is generated.
	SecretSource, SigningKeysSource string

	// RawSecrets are the options of the node that hold a secret as plain text.
	RawSecrets []string

	ctx caddy.Context
}

// Ports are those of the app http.
type Ports struct {
	HTTP  int `json:"http_port"`  // that of plain HTTP; 0: 80
	HTTPS int `json:"https_port"` // that of HTTPS; 0: 443
}

// document is the part of a configuration that is looked at.
type document struct {
	Admin   *caddy.AdminConfig         `json:"admin"`
	Logging *caddy.Logging             `json:"logging"`
	Storage json.RawMessage            `json:"storage"`
	Apps    map[string]json.RawMessage `json:"apps"`
}

// appName is the node's, in the configuration.
const appName = "talos"

// LoadFile is [Load] for a file, in the format of a config adapter. Without the name of one, the file's own name shows
// whether it is a Caddyfile or JSON.
func LoadFile(file, adapter, database string) (*Setup, error) {
	quiet()
	config, _, _, err := caddycmd.LoadConfig(file, adapter)
	if err != nil {
		return nil, err
	}
	return Load(config, database)
}

// quiet holds back what Caddy logs on its own from now on. A configuration's logs would get it, and are silent.
func quiet() { _, _, _ = caddy.BufferedLog() }

// Load reads a configuration in JSON. A database that is not empty is the DSN to use in place of the configured one. Of
// the apps only the node is provisioned; an error of it is a configuration that would be refused at a start. Caddy's
// default log is silent from then on.
func Load(config []byte, database string) (*Setup, error) {
	quiet()
	var d document
	if err := json.Unmarshal(config, &d); err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	talos, err := withDatabase(d.Apps[appName], database)
	if err != nil {
		return nil, err
	}
	s := &Setup{}
	if d.Admin != nil {
		s.Admin = *d.Admin
	}
	if err := s.readHTTP(d.Apps["http"]); err != nil {
		return nil, err
	}
	if err := s.readSources(talos); err != nil {
		return nil, err
	}
	s.ctx, err = caddy.ProvisionContext(&caddy.Config{
		Logging:    silent(d.Logging),
		StorageRaw: d.Storage,
		AppsRaw:    caddy.ModuleMap{appName: talos},
	})
	if err != nil {
		return nil, err
	}
	if s.App, err = node.Of(s.ctx); err != nil {
		return nil, err
	}
	s.Node, s.Storage = s.App.Inspect(), s.ctx.Storage()
	return s, nil
}

// withDatabase sets the option storage of the node.
func withDatabase(talos json.RawMessage, database string) (json.RawMessage, error) {
	if len(talos) == 0 {
		talos = json.RawMessage("{}")
	}
	if database == "" {
		return talos, nil
	}
	var options map[string]json.RawMessage
	if err := json.Unmarshal(talos, &options); err != nil {
		return nil, fmt.Errorf("reading the app %s: %w", appName, err)
	}
	text, err := json.Marshal(database)
	if err != nil {
		return nil, err
	}
	options["storage"] = text
	return json.Marshal(options)
}

func (s *Setup) readHTTP(app json.RawMessage) error {
	if len(app) == 0 {
		return nil
	}
	var read struct {
		Ports
		Servers map[string]*caddyhttp.Server `json:"servers"`
	}
	if err := json.Unmarshal(app, &read); err != nil {
		return fmt.Errorf("reading the app http: %w", err)
	}
	s.HTTP, s.Servers = read.Ports, read.Servers
	return nil
}

// readSources notes where configured secrets come from.
func (s *Setup) readSources(talos json.RawMessage) error {
	type keyOptions struct {
		HMACSecret  string   `json:"hmac_secret"`
		Retired     []string `json:"retired_hmac_secrets"`
		SigningKeys string   `json:"signing_keys"`
	}
	var app struct {
		keyOptions
		Networks []keyOptions `json:"networks"`
		Webhooks []struct {
			Secret string `json:"secret"`
		} `json:"webhooks"`
	}
	if err := json.Unmarshal(talos, &app); err != nil {
		return fmt.Errorf("reading the app %s: %w", appName, err)
	}
	const inside = "the configuration itself"
	for _, secret := range append([]string{app.HMACSecret}, app.Retired...) {
		switch {
		case secret == "":
		case isPlaceholder(secret):
			s.SecretSource = strings.TrimSpace(s.SecretSource + " " + secret)
		default:
			s.RawSecrets = []string{"hmac_secret"}
		}
	}
	if len(s.RawSecrets) > 0 {
		s.SecretSource = inside
	}
	switch keys := app.SigningKeys; {
	case keys == "" || isPlaceholder(keys), !strings.HasPrefix(keys, "base64://"):
		s.SigningKeysSource = keys // a file, or a placeholder
	case strings.Contains(keys, "{"):
		s.SigningKeysSource = "a placeholder in signing_keys"
	default:
		s.SigningKeysSource = inside
		s.RawSecrets = append(s.RawSecrets, "signing_keys")
	}
	for _, n := range app.Networks {
		secret := slices.ContainsFunc(append(n.Retired, n.HMACSecret), func(secret string) bool {
			return secret != "" && !isPlaceholder(secret)
		})
		if secret || strings.HasPrefix(n.SigningKeys, "base64://") && !strings.Contains(n.SigningKeys, "{") {
			s.RawSecrets = append(s.RawSecrets, "a secret of a network")
			break
		}
	}
	for _, w := range app.Webhooks {
		if w.Secret != "" && !isPlaceholder(w.Secret) {
			s.RawSecrets = append(s.RawSecrets, "the secret of a webhook")
			break
		}
	}
	return nil
}

// isPlaceholder reports whether a value is one placeholder of Caddy and nothing else.
func isPlaceholder(value string) bool {
	return strings.HasPrefix(value, "{") && strings.IndexByte(value, '}') == len(value)-1
}

// silent is the configuration's logging with each log written to nowhere. A log that Caddy knows to be discarded would
// have no format any more.
func silent(configured *caddy.Logging) *caddy.Logging {
	nowhere := json.RawMessage(fmt.Sprintf(`{"output":"file","filename":%q,"roll":false}`, os.DevNull))
	logging := &caddy.Logging{Logs: map[string]*caddy.CustomLog{}}
	if configured != nil {
		for name, log := range configured.Logs {
			if log != nil {
				logging.Logs[name] = log
			}
		}
	}
	if logging.Logs[caddy.DefaultLoggerName] == nil {
		logging.Logs[caddy.DefaultLoggerName] = new(caddy.CustomLog)
	}
	for _, log := range logging.Logs {
		if !discarded(log.WriterRaw) {
			log.WriterRaw = nowhere
		}
	}
	return logging
}

func discarded(writer json.RawMessage) bool {
	var w struct {
		Output string `json:"output"`
	}
	return json.Unmarshal(writer, &w) == nil && w.Output == "discard"
}

// Provision loads one handler of a server, as a start does. It is for the handlers of this module: those of others may
// start something. The configuration of a handler names it in the field "handler".
func (s *Setup) Provision(server *caddyhttp.Server, handler json.RawMessage) error {
	name, options, err := splitHandler(handler)
	if err != nil {
		return err
	}
	ctx := s.ctx
	ctx.Context = context.WithValue(ctx.Context, caddyhttp.ServerCtxKey, server)
	_, err = ctx.LoadModuleByID("http.handlers."+name, options)
	return err
}

// splitHandler takes the name out of a handler's configuration, which its options do not know.
func splitHandler(handler json.RawMessage) (name string, options json.RawMessage, err error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(handler, &fields); err != nil {
		return "", nil, fmt.Errorf("reading a handler: %w", err)
	}
	if err := json.Unmarshal(fields["handler"], &name); err != nil {
		return "", nil, fmt.Errorf("reading a handler's name: %w", err)
	}
	delete(fields, "handler")
	var b bytes.Buffer
	if err := json.NewEncoder(&b).Encode(fields); err != nil {
		return "", nil, err
	}
	return name, b.Bytes(), nil
}
