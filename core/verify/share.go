package verify

import (
	"container/heap"
	"context"
	"net/netip"
)

// clientKey names the look-ups in a lane that share one client address.
type clientKey struct {
	lane laneKey
	addr netip.Prefix
}

type clientContextKey struct{}

// WithClient notes the address of the client that sent a credential: look-ups of credentials that are not known to be
// good share the source equally between client addresses. Without an address, all share as one.
func WithClient(ctx context.Context, addr netip.Addr) context.Context {
	return context.WithValue(ctx, clientContextKey{}, addr)
}

// ClientOf is the address that [WithClient] has noted; the zero Addr without one.
func ClientOf(ctx context.Context) netip.Addr {
	addr, _ := ctx.Value(clientContextKey{}).(netip.Addr)
	return addr
}

// shareOf is the part of the network that a client address is counted with. Whoever has an IPv6 address usually has the
// 2^64 of its /64.
func shareOf(ctx context.Context) netip.Prefix {
	addr := ClientOf(ctx).Unmap()
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	p, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{} // no address
	}
	return p
}

// byWaiting is a heap of clients, the one with the most look-ups first.
type byWaiting []*client

func (b *byWaiting) add(c *client)    { heap.Push(b, c) }
func (b *byWaiting) remove(c *client) { heap.Remove(b, c.rank) }
func (b *byWaiting) grown(c *client)  { heap.Fix(b, c.rank) }
func (b *byWaiting) shrunk(c *client) { heap.Fix(b, c.rank) }

// Len is part of [heap.Interface].
func (b *byWaiting) Len() int { return len(*b) }

// Less is part of [heap.Interface].
func (b *byWaiting) Less(i, j int) bool { return (*b)[i].waiting.Len() > (*b)[j].waiting.Len() }

// Swap is part of [heap.Interface].
func (b *byWaiting) Swap(i, j int) {
	list := *b
	list[i], list[j] = list[j], list[i]
	list[i].rank, list[j].rank = i, j
}

// Push is part of [heap.Interface].
func (b *byWaiting) Push(x any) {
	c := x.(*client) //nolint:errcheck,forcetypeassert // the heap holds nothing else
	c.rank = len(*b)
	*b = append(*b, c)
}

// Pop is part of [heap.Interface].
func (b *byWaiting) Pop() any {
	old := *b
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*b = old[:len(old)-1]
	return last
}
