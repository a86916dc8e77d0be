package redistest

import (
	"fmt"
	"strings"
	"testing"
)

// Master is the name by which sentinels know the master.
const Master = "counts"

// Replicated is a master with a replica, and a sentinel that makes the replica the master when the master is away.
type Replicated struct{ Master, Replica, Sentinel *Server }

// StartReplicated runs the three until the test ends. It returns when the sentinel knows the replica.
func StartReplicated(tb testing.TB) *Replicated {
	tb.Helper()
	r := &Replicated{Master: Start(tb)}
	r.Replica = Start(tb, "--replicaof", "127.0.0.1", r.Master.Port())
	file := writeFile(tb, tb.TempDir(), "sentinel.conf", fmt.Sprintf(
		"sentinel monitor %[1]s 127.0.0.1 %[2]s 1\n"+
			"sentinel down-after-milliseconds %[1]s 1000\n"+
			"sentinel failover-timeout %[1]s 5000\n", Master, r.Master.Port()))
	r.Sentinel = Start(tb, file, "--sentinel")
	Await(tb, "the replica follows its master", func() bool {
		info, err := r.Replica.Client.Info(tb.Context(), "replication").Result()
		return err == nil && strings.Contains(info, "master_link_status:up")
	})
	Await(tb, "the sentinel knows the replica", func() bool {
		list, ok := r.Sentinel.Do(tb, "SENTINEL", "REPLICAS", Master).([]any)
		return ok && len(list) == 1
	})
	return r
}

// StartCluster runs a cluster of three masters until the test ends. It returns when they serve all slots.
func StartCluster(tb testing.TB) []*Server {
	tb.Helper()
	const slots = 16384
	var nodes []*Server
	for i := range 3 {
		bus := OtherPort()
		node := Start(tb, "--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port", bus)
		node.Do(tb, "CLUSTER", "ADDSLOTSRANGE", slots*i/3, slots*(i+1)/3-1)
		if i > 0 {
			nodes[0].Do(tb, "CLUSTER", "MEET", "127.0.0.1", node.Port(), bus)
		}
		nodes = append(nodes, node)
	}
	for _, node := range nodes {
		Await(tb, "the cluster serves all slots", func() bool {
			info, err := node.Client.ClusterInfo(tb.Context()).Result()
			return err == nil && strings.Contains(info, "cluster_state:ok") &&
				strings.Contains(info, "cluster_known_nodes:3")
		})
	}
	return nodes
}
