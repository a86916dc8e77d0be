package redact

import (
	"bytes"
	"crypto/rand"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// The names under which Caddy logs requests: all of a site that has an access log, and those that failed.
const (
	accessLogger = "http.log.access"
	errorLogger  = "http.log.error"
)

// Exposure finds the logs that would show what the gates of a configuration take credentials from.
type Exposure struct {
	logs    zapcore.Core        // all that may get requests
	loggers map[string]*exposed // by the name under which requests are logged
}

// exposed is what requests that are logged under a name may hold.
type exposed struct {
	sources        []Source
	logCredentials bool
}

// Add notes the sources of a gate for what its server logs.
func (x *Exposure) Add(ctx caddy.Context, sources []Source) {
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok {
		return
	}
	x.logs = ctx.Logger(requestLog{}).Core()
	if x.loggers == nil {
		x.loggers = map[string]*exposed{}
	}
	for _, name := range loggersOf(server) {
		e := x.loggers[name]
		if e == nil {
			e = new(exposed)
			x.loggers[name] = e
		}
		e.sources = append(e.sources, sources...)
		e.logCredentials = e.logCredentials || server.Logs != nil && server.Logs.ShouldLogCredentials
	}
}

// loggersOf are the names under which a server logs requests.
func loggersOf(server *caddyhttp.Server) []string {
	names := []string{errorLogger}
	if server.Logs == nil {
		return names
	}
	own := []string{server.Logs.DefaultLoggerName}
	for _, mapped := range server.Logs.LoggerNames {
		own = append(own, mapped...)
	}
	for _, name := range own {
		if name != "" {
			name = "." + name
		}
		names = append(names, accessLogger+name, errorLogger+name)
	}
	return names
}

// requestLog represents a module of Caddy that logs requests.
type requestLog struct{}

// CaddyModule returns the module information by which Caddy finds the logs of a module.
func (requestLog) CaddyModule() caddy.ModuleInfo { return caddy.ModuleInfo{ID: "http.log"} }

// Shown is a log that shows credentials.
type Shown struct {
	Log         string   // its name
	Credentials []string // the sources whose credentials it shows
}

// Shown returns the logs that show credentials.
func (x *Exposure) Shown() (all []Shown) {
	if x.logs == nil {
		return nil
	}
	for _, log := range splitCore(x.logs) {
		name, taken := x.takenBy(log)
		if shown := showing(log, taken); len(shown) > 0 {
			all = append(all, Shown{name, shown})
		}
	}
	return all
}

// Warn says of each log that shows credentials what to do about it.
func (x *Exposure) Warn(logger *zap.Logger) {
	for _, s := range x.Shown() {
		logger.Warn("this log shows credentials: paste the line into its block, or if the block has a format, "+
			"write talos_redact before that one",
			zap.String("log", s.Log), zap.Strings("credentials", s.Credentials),
			zap.String("paste", "format talos_redact"))
	}
}

// takenBy returns the name of a log, and what the requests may hold that it gets.
func (x *Exposure) takenBy(log zapcore.Core) (name string, all exposed) {
	for _, logger := range slices.Sorted(maps.Keys(x.loggers)) {
		entry := zapcore.Entry{Level: zapcore.ErrorLevel, LoggerName: logger}
		if log.Check(entry, nil) == nil {
			continue
		}
		if name == "" {
			name = strings.TrimPrefix(logger, accessLogger+".")
		}
		all.sources = append(all.sources, x.loggers[logger].sources...)
		all.logCredentials = all.logCredentials || x.loggers[logger].logCredentials
	}
	if id := identity(log); id != 0 && id == identity(caddy.Log().Core()) {
		name = caddy.DefaultLoggerName
	}
	return name, all
}

// showing logs a request with a credential in each source, but writes it nowhere. It returns the sources whose
// credential the log's format leaves as it is.
func showing(log zapcore.Core, all exposed) []string {
	marks := make(map[string]string, len(all.sources)) // sources by the credentials in them
	r := http.Request{
		Method: http.MethodGet, Proto: "HTTP/1.1", Host: "localhost", RemoteAddr: "127.0.0.1:1",
		RequestURI: "/", Header: http.Header{},
	}
	for _, s := range all.sources {
		mark := rand.Text()
		marks[mark] = s.String()
		s.Put(&r, mark)
	}
	request := zap.Object("request", caddyhttp.LoggableHTTPRequest{
		Request: &r, ShouldLogCredentials: all.logCredentials,
	})
	var shown []string
	// A log lets fields encode themselves, and so gives them its encoder.
	log.With([]zapcore.Field{zap.Inline(zapcore.ObjectMarshalerFunc(func(enc zapcore.ObjectEncoder) error {
		encoder, ok := enc.(zapcore.Encoder)
		if !ok {
			return nil
		}
		entry := zapcore.Entry{Level: zapcore.ErrorLevel, Time: time.Now(), LoggerName: errorLogger, Message: "probe"}
		line, err := encoder.EncodeEntry(entry, []zapcore.Field{request})
		if err != nil {
			return nil // what cannot be encoded is not shown
		}
		defer line.Free()
		for mark, source := range marks {
			if bytes.Contains(line.Bytes(), []byte(mark)) {
				shown = append(shown, source)
			}
		}
		return nil
	}))})
	slices.Sort(shown)
	return slices.Compact(shown)
}

// splitCore returns the logs that a logger writes to. zap keeps several in a slice.
func splitCore(core zapcore.Core) []zapcore.Core {
	v := reflect.ValueOf(core)
	if v.Kind() != reflect.Slice {
		return []zapcore.Core{core}
	}
	var cores []zapcore.Core
	for i := range v.Len() {
		if c, ok := v.Index(i).Interface().(zapcore.Core); ok {
			cores = append(cores, c)
		}
	}
	return cores
}

// identity tells logs apart; it is 0 if nothing does. Cores that wrap another one, by logger or for sampling, have it
// in a field Core.
func identity(core zapcore.Core) uintptr {
	v := reflect.ValueOf(core)
	for {
		wrapper := reflect.Indirect(v)
		if wrapper.Kind() != reflect.Struct {
			return 0
		}
		wrapped := wrapper.FieldByName("Core")
		if !wrapped.IsValid() || wrapped.Kind() != reflect.Interface {
			break
		}
		v = wrapped.Elem()
	}
	if v.Kind() != reflect.Pointer {
		return 0
	}
	return v.Pointer()
}
