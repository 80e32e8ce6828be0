package evenkeel_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/actors/slave"
	"github.com/evenkeel/evenkeel/app"
	"github.com/evenkeel/evenkeel/messages"
)

// party is an app, and an actor of the game's that asks it.
type party struct {
	*app.App
	name     string // its appName, by which the servers count
	majority bool   // it reads what a majority has
	fleeting bool   // it is stopped in the middle of the storm
	pid      *actor.PID
	gone     chan struct{} // closed when its load is to end
	once     sync.Once
	heard    chan struct{} // closed when all that it has told was read
	// settled is what has become of writes that were answered Unknown, by their numbers; read
	// when heard is closed.
	settled map[uint64]messages.Outcome
}

// question is the Correlation of what is sent to an app's PIDs.
type question struct {
	due
	replies atomic.Int32
	answer  func(reply any)
}

// due is when a reply is due, and what the process had been kept waiting by then.
type due struct {
	deadline time.Time
	stalled  time.Duration
}

// late is how far beyond its deadline a reply may come, and that again for each second that
// the machine has let everything wait meanwhile.
const late = 3 * time.Second

// early is how long before it a deadline may be said to have passed: the driver sends nothing for which a round trip does
// not fit any more.
const early = 500 * time.Millisecond

func (x *storm) due(deadline time.Time) due { return due{deadline, time.Duration(x.stalled.Load())} }

// watch measures for how long a timer is not served, which is not the app's fault.
func (x *storm) watch() {
	const each = 20 * time.Millisecond
	for last := time.Now(); x.await(each, x.quit); {
		now := time.Now()
		if over := now.Sub(last) - each; over > each {
			x.stalled.Add(int64(over))
		}
		last = now
	}
}

// start starts an app.
func (x *storm) start(name string, cfg app.Config) *party {
	p := &party{name: fmt.Sprintf("%s/%s", x.t.Name(), name), gone: make(chan struct{})}
	if cfg.URI == "" {
		cfg.URI = x.c.uri
	}
	cfg.Logger = x.logger(p.name)
	cfg.ClientOptions = func(o *options.ClientOptions) { o.SetAppName(p.name) }
	a, err := app.Start(context.Background(), cfg)
	if err != nil {
		x.t.Fatal(err)
	}
	p.App, p.heard, p.settled = a, make(chan struct{}), map[uint64]messages.Outcome{}
	go func() {
		defer close(p.heard)
		x.overhear(p)
	}()
	p.pid = a.System().Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
		switch m := ctx.Message().(type) {
		case *messages.ReadReply:
			x.answered(p, m.Correlation.(*question), m)
		case *messages.WriteReply:
			x.answered(p, m.Correlation.(*question), m)
		}
	}))
	return p
}

// answered hears a reply to what was sent to a PID.
func (x *storm) answered(p *party, q *question, reply any) {
	if n := q.replies.Add(1); n > 1 {
		x.violate("reply", "%q was answered %d times: %v", p.name, n, reply)
		return
	}
	x.onTime(p, q.due, reply)
	switch rep := reply.(type) {
	case *messages.ReadReply:
		x.keepsSecret(p, rep.Err)
	case *messages.WriteReply:
		x.keepsSecret(p, rep.Err)
	}
	q.answer(reply)
	x.unanswered.Add(-1)
}

func (x *storm) onTime(p *party, d due, reply any) {
	var err error
	text := ""
	switch rep := reply.(type) {
	case *messages.ReadReply:
		err, text = rep.Err, fmt.Sprintf("%d attempts, %v", rep.Attempts, rep.Err)
	case *messages.WriteReply:
		err, text = rep.Err, fmt.Sprintf("%v, %d attempts, %v", rep.Outcome, rep.Attempts, rep.Err)
	case error:
		err, text = rep, "a Collection's read, "+rep.Error()
	}
	stalled := time.Duration(x.stalled.Load()) - d.stalled
	if over := time.Since(d.deadline); over > late+3*stalled {
		x.violate("deadline", "%q was answered %v after the deadline, with %v of stalls meanwhile: %s", p.name, over, stalled, text)
	} else if errors.Is(err, messages.ErrDeadline) && -over > early+3*stalled {
		x.violate("deadline", "%q was told %v before the deadline that it has passed, with %v of stalls meanwhile: %s", p.name, -over, stalled, text)
	}
}

// send sends a message to one of the app's PIDs. Answer is called in the actor.
func (x *storm) send(p *party, m any, answer func(reply any)) {
	q := &question{answer: answer}
	x.unanswered.Add(1)
	to := p.Router()
	switch m := m.(type) {
	case *messages.Read:
		q.due, m.Correlation = x.due(m.Deadline), q
	case *messages.Write:
		q.due, m.Correlation = x.due(m.Deadline), q
		to = p.Master()
	}
	p.System().Root.RequestWithCustomSender(to, m, p.pid)
}

// askFor is send, and waits for the answer.
func askFor[R any](x *storm, p *party, m any) R {
	replies := make(chan R, 1)
	x.send(p, m, func(reply any) { replies <- reply.(R) })
	return <-replies
}

// close stops the app and what asks it, and returns what Stop does. What is
// accepted by then has been answered.
func (p *party) close(x *storm, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	began := time.Now()
	err := p.Stop(ctx)
	if took := time.Since(began); took > patience+10*time.Second {
		x.violate("stop", "%q took %v to stop", p.name, took)
	}
	p.once.Do(func() { close(p.gone) })
	x.keepsSecret(p, err)
	<-p.heard
	return err
}

// hosts says how the app's hosts are.
func (p *party) hosts() []string {
	var out []string
	for _, h := range p.Stat().Hosts {
		out = append(out, fmt.Sprintf("%s %s %s", h.Host, h.State, h.Reason))
	}
	return out
}

func isLive(h slave.Stat) bool { return h.State == slave.Live }

// partyList is the apps of a storm.
type partyList struct {
	mu  sync.Mutex
	all []*party
}

func (l *partyList) add(p *party) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, p)
}

func (l *partyList) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.all)
}

// names are the appNames of all.
func (l *partyList) names() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for _, p := range l.all {
		out = append(out, p.name)
	}
	return out
}

// lasting are those that are there from the beginning to the end.
func (l *partyList) lasting() []*party {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(l.all), func(p *party) bool { return p.fleeting })
}

// load starts the apps and all that they do.
func (x *storm) load() *sync.WaitGroup {
	all := new(sync.WaitGroup)
	r := rand.New(rand.NewPCG(x.seed, 2))
	policy := func() app.Policy { return app.Policy(r.IntN(int(app.Random) + 1)) }
	x.parties.add(x.start("one lane", app.Config{
		Policy: policy(), ReadTimeout: 3 * time.Second, WriteTimeout: 6 * time.Second, NoBatch: r.IntN(4) == 0, Hedge: r.IntN(2) == 0,
	}))
	many := x.start("four lanes", app.Config{
		URI: x.c.uri + "&readConcernLevel=majority", Policy: policy(), Discover: true, MaxLag: time.Second, WriteLanes: 4,
		Hedge: r.IntN(2) == 0, ReadTimeout: 3 * time.Second, WriteTimeout: 6 * time.Second,
	})
	many.majority = true
	x.parties.add(many)
	for _, p := range x.parties.lasting() {
		x.occupy(all, p)
	}
	all.Go(func() { x.comeAndGo(r) })
	return all
}

// occupy has an app do all there is to do, until the storm has calmed or the app is gone.
func (x *storm) occupy(all *sync.WaitGroup, p *party) {
	all.Go(func() { x.readPoints(p) })
	for range 3 {
		all.Go(func() { x.readOnePoint(p) })
	}
	for range 2 {
		all.Go(func() { x.readRanges(p) })
	}
	for k := range 2 {
		all.Go(func() { x.number(p, fmt.Sprintf("%s/%s/sent/%d", p.name, secretKey, k), true) })
		all.Go(func() { x.number(p, fmt.Sprintf("%s/%s/called/%d", p.name, secretKey, k), false) })
	}
	for k := range 3 {
		all.Go(func() { x.useRegisters(p, k) })
	}
	for range 2 {
		all.Go(func() { x.transfer(p) })
	}
	if p.majority {
		for k := range 2 {
			all.Go(func() { x.keepSession(p, k) })
		}
		all.Go(func() { x.passTokens(p) })
	}
}

// comeAndGo has apps start, work, and stop in the middle of it, one after the other.
func (x *storm) comeAndGo(r *rand.Rand) {
	for n := 0; x.goesOn(nil); n++ {
		p := x.start(fmt.Sprintf("fleeting %d", n), app.Config{
			Policy: app.Policy(r.IntN(int(app.Random) + 1)), Discover: r.IntN(2) == 0, WriteLanes: 1 + r.IntN(2), ReadQueue: 50 + r.IntN(1000),
			ReadTimeout: 2 * time.Second, WriteTimeout: 4 * time.Second, NoPrimaryFallback: r.IntN(3) == 0,
		})
		p.fleeting = true
		x.parties.add(p)
		work := new(sync.WaitGroup)
		work.Go(func() { x.readPoints(p) })
		work.Go(func() { x.readOnePoint(p) })
		work.Go(func() { x.readRanges(p) })
		work.Go(func() { x.number(p, p.name+"/"+secretKey+"/sent", true) })
		work.Go(func() { x.number(p, p.name+"/"+secretKey+"/called", false) })
		work.Go(func() { x.useRegisters(p, 3) })
		work.Go(func() { x.transfer(p) })
		x.await(upTo(r, 4*time.Second), x.calm)
		var undone *app.StopError
		if err := p.close(x, upTo(r, 2*time.Second)); err != nil && !errors.As(err, &undone) {
			x.violate("stop", "%q returned %v when it was stopped", p.name, err)
		}
		if !within(patience, work.Wait) {
			x.violate("reply", "%q has stopped, and somebody still waits for it", p.name)
			return
		}
	}
}

// goesOn says that the load has not to end yet.
func (x *storm) goesOn(p *party) bool {
	var gone chan struct{}
	if p != nil {
		gone = p.gone
	}
	select {
	case <-x.calm:
		return false
	case <-gone:
		return false
	default:
		return true
	}
}

// paced calls do about every d, until the load has to end.
func (x *storm) paced(p *party, d time.Duration, do func()) {
	tick := time.NewTicker(d)
	defer tick.Stop()
	for {
		select {
		case <-x.calm:
			return
		case <-p.gone:
			return
		case <-tick.C:
		}
		if x.goesOn(p) {
			do()
		}
	}
}

// mustServe waits until an app answers a read and a write as it should.
func (x *storm) mustServe(p *party) {
	eventually(x.t, fmt.Sprintf("%q serves a read and a write", p.name), func() bool {
		read := x.point(rand.IntN(players))
		write := &messages.Write{
			Database: x.c.db, Collection: "calm", Operation: messages.InsertOne{Document: struct{ By string }{p.name}}, Deadline: time.Now().Add(10 * time.Second),
		}
		return askFor[*messages.ReadReply](x, p, read).Err == nil && askFor[*messages.WriteReply](x, p, write).Outcome == messages.Applied
	})
}
