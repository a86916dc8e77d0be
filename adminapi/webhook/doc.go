// Package webhook delivers the changes in the feed to an external HTTP endpoint, by the Standard Webhooks specification
// (https://www.standardwebhooks.com).
//
// A [Sender] is a reader of the feed. Its position is stored in the database, and one process at a time owns it, by a
// lease. A delivery is a POST that is signed; an answer of 2xx ends it. Anything else is tried again, with a back-off,
// until it succeeds or the feed does not keep the event any more. So each event is delivered at least once. The
// header webhook-id is the same in each attempt, by which receivers recognise what they have had before. The events of
// one key are delivered one after the other, in their order; those of different keys side by side.
//
// # Addresses
//
// Deliveries go to public addresses, and to private ones only if the settings allow it. An address is checked when the
// connection is made, after its name was resolved, so DNS cannot lead a delivery into the network of the machine.
// Redirects are not followed, and proxies of the environment are not used.
package webhook
