package core

import (
	"encoding/json"
	"time"
)

// SystemNetwork is the network of what belongs to none, such as the events of networks themselves: no network may have
// this id, which is the max UUID of RFC 9562.
var SystemNetwork = NetworkID{
	0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
}

// Network is a network that a database knows, beside those of the nodes' configurations.
type Network struct {
	ID         NetworkID
	Hosts      []string        // one or more, of which no other network in the database has one
	Settings   json.RawMessage // a JSON object; what is not in it is as the nodes' configurations have it
	Suspended  bool            // its hosts are unknown while it is
	CreateTime time.Time
	UpdateTime time.Time
}
