package node

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/talos-edge/talos-edge/adminapi/webhook"
	"github.com/talos-edge/talos-edge/caddymodule/internal/directive"
	"github.com/talos-edge/talos-edge/caddymodule/internal/logging"
	"github.com/talos-edge/talos-edge/core"
)

// Webhook is a receiver of changes. Each change is delivered at least once, and those of one key in their order, by the
// Standard Webhooks specification. Of several processes on one database one delivers at a time. A webhook begins with
// the changes after its first start; it goes on where it was as long as its URL stays the same.
type Webhook struct {
	// URL is where deliveries go: `https://`, or `http://` to `localhost` or a loopback address.
	URL string `json:"url,omitempty"`

	// Secret signs deliveries: `whsec_` and the base64 form of 24 to 64 bytes.
	Secret string `json:"secret,omitempty"`

	// Types are the types of event that are delivered, such as `IssuedAPIKeyRevoked` and `key.expiring`. Default: all.
	Types []string `json:"types,omitempty"`

	// AllowPrivate also delivers to addresses of private networks and of this machine. Default: to public addresses,
	// and to this machine if the URL names it.
	AllowPrivate bool `json:"allow_private,omitempty"`
}

// maxWebhooks is how many webhooks a node has at most.
const maxWebhooks = 32

// Config are the settings of the webhook's sender, without a store.
func (w *Webhook) Config() webhook.Config {
	return webhook.Config{URL: w.URL, Secret: w.Secret, Types: w.Types, AllowPrivate: w.AllowPrivate}
}

// checkWebhooks refuses settings that cannot be webhooks.
func checkWebhooks(list []Webhook) error {
	if len(list) > maxWebhooks {
		return fmt.Errorf("webhook: at most %d are possible", maxWebhooks)
	}
	var readers []string
	for i := range list {
		c := list[i].Config()
		if err := c.Validate(); err != nil {
			return fmt.Errorf("webhook %d: %w", i+1, err)
		}
		if slices.Contains(readers, c.Reader()) {
			return fmt.Errorf("webhook %d: the URL is that of an earlier webhook", i+1)
		}
		readers = append(readers, c.Reader())
	}
	return nil
}

// literalWebhooks are webhooks without every value that holds a placeholder.
func literalWebhooks(list []Webhook) (literal []Webhook) {
	for i, l := range list {
		if strings.Contains(l.URL, "{") {
			l.URL = fmt.Sprintf("https://unchecked-%d.invalid", i)
		}
		if strings.Contains(l.Secret, "{") {
			l.Secret = "whsec_" + strings.Repeat("unchecked+++", 3)
		}
		l.Types = directive.Literals(l.Types)
		literal = append(literal, l)
	}
	return literal
}

// webhookFields are all settings, for the pool key.
func webhookFields(list []Webhook) (fields []string) {
	for i := range list {
		w := &list[i]
		fields = append(fields, w.URL, w.Secret, strconv.FormatBool(w.AllowPrivate), strconv.Itoa(len(w.Types)))
		fields = append(fields, w.Types...)
	}
	return fields
}

// unmarshalCaddyfile reads one `webhook` option:
//
//	webhook <url> {
//		secret <secret>
//		types  <type>...
//		allow_private
//	}
//
// It may be given more than once, each time with another URL.
func (w *Webhook) unmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if !d.AllArgs(&w.URL) {
		return d.ArgErr()
	}
	err := directive.Block(d, directive.Once{}, func(option string) error {
		switch option {
		case "secret":
			return directive.Value(d, &w.Secret)
		case "types":
			return directive.Values(d, &w.Types)
		case "allow_private":
			w.AllowPrivate = true
			return directive.NoValue(d)
		default:
			return directive.Unknown(d)
		}
	})
	if err != nil {
		return err
	}
	if w.Secret == "" {
		return d.Err("webhook: the option secret is required")
	}
	return nil
}

var (
	webhookDeliveries = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "talos_webhook_deliveries_total",
		Help: "Attempts to deliver a message to a webhook, by how they ended, and messages that were dropped.",
	}, []string{"webhook", "result"})
	webhookLagDesc = prometheus.NewDesc("talos_webhook_lag_seconds",
		"Age of the oldest event that was not delivered to a webhook.", []string{"webhook"}, nil)
)

// openWebhooks starts the webhooks of a node, for its networks. The caller closes them.
func openWebhooks(
	ctx context.Context, list []Webhook, networks []core.NetworkID, store core.Store,
) (senders []*webhook.Sender, err error) {
	for i := range list {
		c := list[i].Config()
		c.Networks, c.Store, c.Logger = networks, store, logging.Current("talos.webhook")
		var sender *webhook.Sender
		c.Observe = func(result webhook.Result, n int) {
			webhookDeliveries.WithLabelValues(sender.Host(), string(result)).Add(float64(n))
		}
		if sender, err = webhook.New(c); err != nil {
			closeWebhooks(senders)
			return nil, fmt.Errorf("webhook: %w", err)
		}
		for _, result := range webhook.Results {
			webhookDeliveries.WithLabelValues(sender.Host(), string(result)) // present from the start, with zero
		}
		sender.Start(ctx)
		senders = append(senders, sender)
	}
	return senders, nil
}

func closeWebhooks(senders []*webhook.Sender) {
	var group sync.WaitGroup
	for _, s := range senders {
		group.Go(s.Close)
	}
	group.Wait()
}

// collectWebhooks reads the gauges of webhooks. Of several with one host the longest lag counts.
func collectWebhooks(ch chan<- prometheus.Metric, senders []*webhook.Sender) {
	lags := map[string]float64{}
	for _, s := range senders {
		if lag, delivers := s.Lag(); delivers {
			lags[s.Host()] = max(lags[s.Host()], lag.Seconds())
		}
	}
	for host, lag := range lags {
		ch <- prometheus.MustNewConstMetric(webhookLagDesc, prometheus.GaugeValue, lag, host)
	}
}
