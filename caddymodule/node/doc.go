// Package node is the app `talos`: one node, its settings, and what it shares with the configurations before and after
// it.
//
// A node is [Embedded], with a database of its own, or a [Sidecar] of an upstream. Handlers use it as a [Node], which a
// request holds from [App.Hold] to [App.Release].
//
// # Reloads
//
// Caddy runs an old and a new configuration side by side for a while, and cleans the old one up while its last requests
// are still being served. So nothing here belongs to a configuration: stores, limiters and nodes are pooled by their
// settings. An app has a use of its node from the first [Of] until Cleanup and the last of its
// requests; a request that comes later opens the node again for as long as it needs it. A reload that does not change
// the settings of a node keeps the node, and with it the cache.
//
// The node is opened while its handlers are provisioned, so that a configuration whose node cannot be opened is refused
// before it listens; but not when the configuration is only checked: `caddy validate` opens and creates nothing.
package node
