package webhook_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/talos-edge/talos-edge/adminapi/webhook"
)

// names is a resolver by which every name has one address.
func names(t *testing.T, addr netip.Addr) *net.Resolver {
	t.Helper()
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		near, far := net.Pipe()
		go func() {
			defer func() { _ = far.Close() }()
			for {
				if err := answerName(far, addr); err != nil {
					return
				}
			}
		}()
		return near, nil
	}}
}

// answerName answers one question of a DNS client over a stream.
func answerName(conn net.Conn, addr netip.Addr) error {
	query := make([]byte, 2048)
	n, err := conn.Read(query)
	if err != nil {
		return err
	}
	if n == 2 { // the length alone
		if n, err = conn.Read(query); err != nil {
			return err
		}
	} else {
		query, n = query[2:], n-2
	}
	var m dnsmessage.Message
	if err := m.Unpack(query[:n]); err != nil {
		return err
	}
	m.Response, m.Additionals = true, nil
	header := dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET, TTL: 1}
	switch {
	case m.Questions[0].Type == dnsmessage.TypeA && addr.Is4():
		m.Answers = []dnsmessage.Resource{{Header: header, Body: &dnsmessage.AResource{A: addr.As4()}}}
	case m.Questions[0].Type == dnsmessage.TypeAAAA && addr.Is6():
		m.Answers = []dnsmessage.Resource{{Header: header, Body: &dnsmessage.AAAAResource{AAAA: addr.As16()}}}
	}
	answer, err := m.Pack()
	if err != nil {
		return err
	}
	_, err = conn.Write(append([]byte{byte(len(answer) >> 8), byte(len(answer))}, answer...))
	return err
}

// attempt sends a test message to a name that has an address.
func attempt(t *testing.T, address string, allowPrivate bool) webhook.Outcome {
	t.Helper()
	o, err := webhook.Test(t.Context(), webhook.Config{
		URL: "https://hooks.example.com/", Secret: secret, AllowPrivate: allowPrivate,
		Resolver: names(t, netip.MustParseAddr(address)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// A name must not lead a delivery into the network of the node: the address is judged, and not the name.
func TestTest_ANameThatLeadsToAPrivateAddressIsNotDeliveredTo(t *testing.T) {
	t.Parallel()
	for _, address := range []string{
		"127.0.0.1", "127.9.9.9", "::1", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1",
		"fc00::1", "fd12:3456::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
		"169.254.169.254", "fe80::1", "0.0.0.0", "::", "224.0.0.1", "255.255.255.255", "ff02::1", "100.100.100.200",
		"fd00:ec2::254", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "2002:7f00:1::", "2001::1",
		"fd00:ec2::23", "fd20:ce::254", "168.63.129.16", "::7f00:1", "::ffff:0:7f00:1",
	} {
		t.Run(address, func(t *testing.T) {
			t.Parallel()
			if o := attempt(t, address, false); o.Result != webhook.ResultForbidden {
				t.Errorf("got %s: %v", o.Result, o.Err)
			}
		})
	}
}

func TestTest_SomeAddressesAreNotDeliveredToEvenIfPrivateOnesAre(t *testing.T) {
	t.Parallel()
	for _, address := range []string{
		"169.254.169.254", "fe80::1", "0.0.0.0", "::", "224.0.0.1", "255.255.255.255", "100.100.100.200",
		"fd00:ec2::254", "64:ff9b::7f00:1", "2002:7f00:1::", "fd00:ec2::23", "fd20:ce::254", "168.63.129.16",
		"::7f00:1", "::ffff:0:7f00:1",
	} {
		t.Run(address, func(t *testing.T) {
			t.Parallel()
			if o := attempt(t, address, true); o.Result != webhook.ResultForbidden {
				t.Errorf("got %s: %v", o.Result, o.Err)
			}
		})
	}
}

func TestTest_AllowPrivateDeliversToTheLoopbackAddressOfIPv6(t *testing.T) {
	t.Parallel()
	if o := attempt(t, "::1", true); o.Result == webhook.ResultForbidden {
		t.Errorf("got %v", o.Err)
	}
}

// local is a receiver on this machine, without TLS.
func local(t *testing.T) (url string, calls *int) {
	t.Helper()
	calls = new(int)
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { *calls++ }))
	t.Cleanup(server.Close)
	return server.URL, calls
}

func TestTest_DeliversToThisMachineIfTheURLNamesIt(t *testing.T) {
	t.Parallel()
	url, calls := local(t)
	o, err := webhook.Test(t.Context(), webhook.Config{URL: url, Secret: secret})
	if err != nil || o.Result != webhook.ResultOK || o.Status != http.StatusOK || o.Err != nil || *calls != 1 {
		t.Errorf("got %+v, %v, %d calls", o, err, *calls)
	}
}

func TestTest_AllowPrivateDeliversToANameWithAPrivateAddress(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(server.Close)
	_, port, _ := strings.Cut(strings.TrimPrefix(server.URL, "https://"), ":")
	settings := server.Client().Transport.(*http.Transport).TLSClientConfig //nolint:errcheck,forcetypeassert // it is
	for allow, want := range map[bool]webhook.Result{true: webhook.ResultOK, false: webhook.ResultForbidden} {
		o, err := webhook.Test(t.Context(), webhook.Config{
			URL: "https://example.com:" + port, Secret: secret, AllowPrivate: allow,
			Resolver: names(t, netip.MustParseAddr("127.0.0.1")), TLS: settings,
		})
		if err != nil || o.Result != want {
			t.Errorf("allowed %v: got %+v, %v", allow, o, err)
		}
	}
}

func TestTest_AnInterruptIsNotTakenForASlowReceiver(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	o, err := webhook.Test(ctx, webhook.Config{
		URL: hookURL, Secret: secret, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			cancel()
			<-ctx.Done()
			return nil, ctx.Err()
		},
	})
	if err != nil || o.Err == nil || !strings.Contains(o.Err.Error(), "interrupted") {
		t.Errorf("got %+v, %v", o, err)
	}
}

func TestTest_ACertificateOfAnotherNameIsNotTrusted(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("the message was delivered")
	}))
	server.Config.ErrorLog = nil
	t.Cleanup(server.Close)
	o, err := webhook.Test(t.Context(), webhook.Config{URL: server.URL, Secret: secret})
	if err != nil || o.Result != webhook.ResultUnreachable || !strings.Contains(o.Err.Error(), "certificate") {
		t.Errorf("got %+v, %v", o, err)
	}
}

func TestTest_NoProxyOfTheEnvironmentIsUsed(t *testing.T) {
	proxy, calls := local(t)
	t.Setenv("HTTP_PROXY", proxy)
	t.Setenv("HTTPS_PROXY", proxy)
	if o := attempt(t, "127.0.0.1", true); o.Result != webhook.ResultUnreachable || *calls != 0 {
		t.Errorf("got %+v, and %d calls of the proxy", o, *calls)
	}
}
