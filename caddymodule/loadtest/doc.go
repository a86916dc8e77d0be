// Command loadtest measures what the gate costs: one binary in several configurations, side by side, on this machine.
//
//	go run ./caddymodule/loadtest                       build, measure (6 minutes), print the tables
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
// without our settings. bare-quiet and gate-quiet are bare and gate-many with Caddy's proxy kept out of the log: it
// prepares a line for each request, with all headers, whether it is written or not. All but stock are the one talos
// binary; -binary and -stock-binary name others.
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
// one connection give the latency: the median of the differences of the slots' medians. Beside each comparison is
// the project's goal. Nothing fails because of a figure; a single request that is not answered with 200 fails the run,
// and before a gated variant is measured, it has to refuse a forged key, no key and a revoked one.
//
// CPU is user and system time of the proxy alone per request, from /proc; elsewhere than on Linux it is n/a. GC/1000
// counts its garbage collections per 1,000 requests.
//
// A gate with a larger heap is collected less often at the same GOGC, and so may look faster than no gate. Our binary
// sets GOGC, and lower where more is live, which favours the variants with little; both settings are printed
// for each variant as they were at the end. No variant gets GOGC or GOMEMLIMIT from the caller's environment; -gogc
// 400, say, and -gomemlimit give all but stock the same.
//
// # A sidecar
//
//	go run ./caddymodule/loadtest -sidecar                     an edge and its upstream (3 minutes)
//	go run ./caddymodule/loadtest -sidecar -only burst,lonely  these sections; also hits, outage, abuse
//
// The upstream is a node of ours with storage. The edge is the same binary with `upstream`, a cache and no storage,
// before the same app. Between the two is a link, a process that hands bytes over after half of the round trip in each
// direction (10 ms, for abuse 100 ms) however many there are; opening a connection takes no time. On Linux it keeps
// its time to about a tenth of a millisecond while a processor is free, elsewhere to one or two; how long the upstream
// takes when it is asked directly through the same link is in the table of lonely. Everything is a process of its own
// and talks over sockets, with the one exception of hits. Keys are issued by the upstream, and are good unless said
// otherwise.
//
// burst sends 10,000 keys that the edge has never seen over 256 connections, each key once. "batched" is the edge as we
// ship it; "one by one" is the same with max_in_flight 256, so that no look-up ever waits and each is a call of its
// own. That is the best that an edge without batching can do for its callers, and spares the upstream nothing; one that
// kept to two calls at once without batching would take 100 s. Calls and keys a call are what the edge counted; latency
// is what the client saw of complete requests, the app included. Both edges are new in each round, and the upstream has
// been asked about all keys before the first.
//
// lonely sends 100 such keys one after the other over one connection. The round trip, the same question sent to the
// upstream directly, and a hit at the same pace are measured beside it: a processor that has slept for 20 ms is slower
// than a busy one, so a hit costs more here than in the other tables.
//
// hits runs traces of a Zipf distribution through a verifier in this process with a source that knows every key: caches
// that have room for all keys, a tenth and a hundredth. The first half of a trace fills the cache, the second is
// counted. "best static" cannot be reached without knowing the future; "unbounded" is what any cache has at most that
// fetches a key when it is first asked for.
//
// outage sends 1,000 requests a second, one in ten with an unknown key, and kills the upstream with its link after 5 s
// (SIGKILL; connections are then refused). It starts both again after 15 s. Lifetimes are short (ttl 1s, stale_if_error
// 8s), so that all stages show: known keys go on, stale, each until 9 s after its last look-up; then they are 503.
// Unknown keys are 503 from the start, not 401: nobody can say. In the second of the return, the calls and keys asked
// have to be about what they are in any other: no stampede. "held back" are look-ups that the open breaker answered.
//
// abuse opens 10,000 connections to an edge whose upstream is 200 ms away: four in ten ask, by turns with a good key
// and with an unknown one, and wait; three ask with an unknown key and reset the connection before there can be an
// answer, again and again; three send a request byte by byte and never finish it. The upstream cannot keep up with so
// many unknown keys, so the queue is full (max_queue 2000) and most of them are 503; good keys are in the cache. The
// queue, the goroutines and the memory are read ten times a second (the resident memory is the kernel's own maximum).
// Where a process may not open enough files, there are fewer connections, and the table says so.
//
// A good key that is refused with 401, an unknown one that is let in and an answer of any other kind fail the run.
//
// # Edges that follow the feed
//
//	go run ./caddymodule/loadtest -edges 50 -only revocations            4 minutes
//	go run ./caddymodule/loadtest -edges 50 -only backlog                3 minutes
//	go run ./caddymodule/loadtest -edges 50 -only readers                3 minutes; -readers 10000 for more of them
//	go run ./caddymodule/loadtest -edges 50 -only cost -before ../older/older   7 minutes
//
// A node of ours with SQLite, and edges that follow its feed of changes as we ship them: GOGC and GOMEMLIMIT are what
// the binary sets. A section starts its own node and edges.
//
// revocations runs 50 edges (-edges), each a process with a gate in front of `respond`. Each gets 20 requests a second,
// half of them with one key and half with 20 others. Keys are revoked one after the other (-revocations, 200 of each
// kind), each after every edge has admitted it twice. Without wait, each edge is then asked until it refuses the key.
// The time counts from the answer of the revocation to the answer of the first refusal, so it includes a request and
// the time between two of them, which is printed. The row below it is the least that it can have been: until the last
// request was sent that was admitted. With ?wait=5s, each edge gets three requests with the key as soon as the answer
// is there. One of them that is admitted fails the run, unless the answer said that an edge had not confirmed.
//
// backlog imports 100,000 keys (-changes) in calls of 1,000. 50 edges (-edges) read that in this process by the Go
// client, with the questions of an edge, and check that positions are without a gap and come once; anything else fails
// the run. In the middle, one more starts at the oldest change, and an edge process is started. Verifications over the
// node's API go on, one every 2 ms. They share two processors with 50 readers that decode JSON. At last, the process is
// stopped (SIGSTOP), 3,000 keys are imported, one that it has cached is revoked among them, and all but 1,000 events
// are removed. When it goes on, it has to refuse the key.
//
// readers lets 1,000 edges (-readers) ask one node from this process. Memory and processor time of the node are read
// for 30 s without edges, 30 s idle and 30 s with a change a second. 50 revocations with ?wait=5s follow. The columns
// for 10,000 edges are computed from those for one.
//
// cost loads two edges of one node by turns, as the gates above. One follows the feed, in which there is a change a
// second; the other gets 404 for its questions. Both have a proxy between them and the node. Then nodes issue 2,000
// keys by turns, 32 at once: one of -before, one of this build, and one of this build that edges (-edges, a process
// each) follow. The last one's processor time counts until its edges have applied the keys. A binary from before there
// were events shows what those cost:
//
//	git worktree add --detach ../older 1e43355
//	(cd ../older && go build -o older ./caddymodule/talos)
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
