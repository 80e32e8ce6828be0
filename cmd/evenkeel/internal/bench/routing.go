package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/evenkeel/evenkeel/actors/router"
	"github.com/evenkeel/evenkeel/internal/command"
	"github.com/evenkeel/evenkeel/internal/load"
	"github.com/evenkeel/evenkeel/internal/request"
	"github.com/evenkeel/evenkeel/messages"
)

// routingPicks is how many decisions one round takes the mean of.
const routingPicks = 200_000

func routing() scenario {
	return scenario{
		rows: []Row{{"router_ns", "one routing decision between three secondaries, by the default policy; evenkeel alone", nanos, true}},
		open: func(*stage) (contest, error) { return newRoutingContest(), nil },
	}
}

// routingContest asks the balancer alone, without a server.
type routingContest struct {
	balancer *router.Balancer
	now      time.Time
}

// idle is a live host that is never offered anything.
type idle struct {
	host string
	inc  uint64
	load load.Load
}

func (h *idle) Host() string        { return h.host }
func (h *idle) Incarnation() uint64 { return h.inc }
func (h *idle) Load() *load.Load    { return &h.load }
func (h *idle) Recall()             {}
func (h *idle) Offer(*request.Read, bool) (func(), error) {
	return nil, messages.ErrNotLive
}

func newRoutingContest() *routingContest {
	c := &routingContest{balancer: router.NewBalancer(router.Adaptive, router.DefaultSlowStart, 1), now: time.Now()}
	for i := range 4 {
		c.balancer.Join(&idle{host: fmt.Sprint("host", i), inc: uint64(i + 1)}, request.Member{Primary: i == 0}, c.now)
	}
	return c
}

func (c *routingContest) round(ctx context.Context, _ bool) (round, error) {
	want := router.Want{Class: command.Point, From: messages.FromSecondaries}
	start := time.Now()
	for range routingPicks {
		c.now = c.now.Add(time.Microsecond)
		c.balancer.Pick(&want, true, c.now)
	}
	took := float64(time.Since(start)) / routingPicks
	return round{ours: outcome{values: map[string]float64{"router_ns": took}}}, ctx.Err()
}

func (c *routingContest) finish([]Result) {}
