// Command loadtest measures what the gate costs: one binary in several configurations, side by side, on this machine.
//
//	go run ./caddymodule/loadtest                       build, measure (4 minutes), print the tables
//	go run ./caddymodule/loadtest -only bare,gate-many  these two
//	go run ./caddymodule/loadtest -json > result.json   for keeping
//	go run ./caddymodule/loadtest -rounds 60 -slot 500ms  more and shorter slots, for a machine that swings
//	go run ./caddymodule/loadtest -extra mine=Caddyfile   one more configuration; see caddyfiles/bare.caddyfile
//
// # Variants
//
// bare is a reverse proxy with the transport settings that we ship, and no gate. gate-1 and gate-many are the same
// behind talos_gate, with one key and with 10,000 (-keys), issued through the running node's admin API and picked at
// random for each request. forward_auth is the same behind Caddy's forward_auth to an auth server of its own process,
// which looks a hash up in a map. stock is a plain Caddy, built from Caddy's own main package at the version in go.mod,
// without our settings. All but stock are the one talos binary; -binary and -stock-binary name others.
//
// Every variant is a process of its own on free loopback ports, idle while another is measured. The app behind them and
// the load generator are this program again, in processes of their own, and do as little as they can. All of it shares
// the processors of one machine, so that the ratios mean something and the absolute figures little. The bytes of a
// request are the same for all variants (an ungated one gets a credential of the same length, and passes it on).
//
// # How to read it
//
// In each round, every variant has one slot (-slot) at -conns connections (HTTP/1.1, keep-alive), and the order rotates
// from round to round. A comparison is the median, with its quartiles, of the ratios within the rounds, because a
// machine may swing by a quarter over minutes; differences under 5 % of one run mean nothing. Then as many rounds at
// one connection give the latency: the median of the differences of the slots' medians. Beside each comparison stands
// the project's goal. Nothing fails because of a figure; a single request that is not answered with 200 fails the run,
// and before a gated variant is measured, it has to refuse a forged key, no key and a revoked one.
//
// CPU is user and system time of the proxy alone per request, from /proc; elsewhere than on Linux it is n/a. GC/1000
// counts its garbage collections per 1,000 requests.
//
// A gate with a larger heap is collected less often at the same GOGC, and so may look faster than no gate. Our binary
// sets GOGC by itself, and lower where more is live, which favours the variants with little; both settings are printed
// for each variant as they were at the end. No variant gets GOGC or GOMEMLIMIT from the caller's environment; -gogc
// 400, say, and -gomemlimit give all but stock the same.
//
// # A profile for the compiler
//
//	go run ./caddymodule/loadtest -rounds 30 -cpuprofile caddymodule/talos/default.pgo
//
// compares nothing, loads each gated variant for 30 × 1 s while Caddy's admin endpoint (on in this mode only) takes
// its profile, and merges them; the next go build of the binary uses the file.
//
// Everything started is ended with the run: in order on Ctrl-C and on an error, and on Linux by the kernel if this
// program is killed.
package main
