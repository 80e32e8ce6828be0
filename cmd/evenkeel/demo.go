package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/actors/supervisor"
	"github.com/evenkeel/evenkeel/app"
)

const (
	// startTimeout bounds what comes before the first read.
	startTimeout = 30 * time.Second
	// returnGrace is how long after the game the last hosts may come back.
	returnGrace = 3 * time.Second
	// endTimeout bounds the wait for the last answers: each comes by its own deadline.
	endTimeout = app.DefaultWriteTimeout + 2*time.Second
	// stopTimeout bounds the reading back and the app's stop.
	stopTimeout = 10 * time.Second
)

// runDemo is the command demo; it returns the exit status.
func runDemo(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	s, err := parseSettings(args, stdout, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitKept
	case err != nil:
		return exitUsage
	}
	var r report = lines{stdout}
	if f, ok := terminal(stdout); s.json {
		r = jsonLines{stdout}
	} else if ok {
		r = newScreen(f)
	}
	v, err := playDemo(ctx, s, r)
	if err != nil {
		fmt.Fprintln(stderr, "evenkeel demo:", err)
		return exitBroken
	}
	r.verdict(v)
	if !v.OK {
		return exitBroken
	}
	return exitKept
}

// demo is one run. Its fields are those of the goroutine that calls playDemo.
type demo struct {
	settings settings
	report   report
	stage    *stage // nil on a real set
	app      *app.App
	game     *game
	board    *board
	returns  returns

	start   time.Time
	events  *supervisor.Subscription
	news    chan announcement
	slices  <-chan time.Time // nil when nobody plays
	seconds <-chan time.Time // nil when nobody plays
}

// playDemo plays a demo to its end, or until ctx ends, and judges it. Its error says
// why it could not begin.
func playDemo(ctx context.Context, s settings, r report) (verdict, error) {
	d := &demo{settings: s, report: r, board: newBoard(), news: make(chan announcement, 16)}
	if err := d.open(ctx); err != nil {
		d.close()
		return verdict{}, err
	}
	e := d.play(ctx)
	d.close()
	return judge(e), nil
}

// open starts everything up to the first read.
func (d *demo) open(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	s := &d.settings
	if s.uri == "" {
		var err error
		if d.stage, err = openStage(ctx); err != nil {
			return err
		}
		s.uri = d.stage.set.URI()
	}
	var err error
	d.app, err = app.Start(context.WithoutCancel(ctx), app.Config{
		URI: s.uri, Policy: s.policy,
		ClientOptions: func(o *options.ClientOptions) {
			if o.AppName == nil {
				o.SetAppName(appName)
			}
		},
	})
	if err != nil {
		return err
	}
	if d.stage != nil {
		for _, m := range d.stage.set.Members() {
			d.board.of(m.Host()) // In their order, and be it that no event tells of one.
		}
	}
	d.events = d.app.Events()
	name := collection
	if d.stage == nil {
		name += "_" + bson.NewObjectID().Hex() // Nobody else's.
	}
	d.game = newGame(d.app, database, name, ownRealm, s.writers)
	if d.stage == nil && s.writers == 0 {
		return nil
	}
	if err := d.game.seed(ctx); err != nil || d.stage == nil {
		return err
	}
	if err := d.stage.populate(ctx, d.game.players); err != nil {
		return err
	}
	d.game.complete = true
	return d.stage.set.AwaitSecondaries(ctx)
}

// close stops what was started, after the app.
func (d *demo) close() {
	if d.app != nil {
		d.app.StopAndCancel() // Has been stopped, unless the demo did not begin.
	}
	if d.stage != nil {
		d.stage.close()
	}
}

// play lets the players play, and gathers the evidence.
func (d *demo) play(ctx context.Context) evidence {
	d.start = time.Now()
	playing, over := context.WithCancel(ctx)
	if d.settings.length > 0 {
		playing, over = context.WithDeadline(ctx, d.start.Add(d.settings.length))
	}
	defer over()
	d.game.play(d.settings.readers, d.settings.writers)
	schedule := make(chan error, 1)
	go func() { schedule <- d.doFaults(playing) }()

	slice, second := time.NewTicker(sliceEvery), time.NewTicker(time.Second)
	defer slice.Stop()
	defer second.Stop()
	d.slices, d.seconds = slice.C, second.C
	d.follow(playing.Done(), nil)
	d.slices, d.seconds = nil, nil

	e := evidence{length: time.Since(d.start), interrupted: ctx.Err() != nil, builtIn: d.stage != nil}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		end, cancel := context.WithTimeout(context.Background(), endTimeout)
		defer cancel()
		e.trouble = <-schedule
		d.game.end(end)
	}()
	d.follow(ended, nil)
	if !e.interrupted {
		grace, cancel := context.WithTimeout(ctx, returnGrace)
		defer cancel()
		d.follow(grace.Done(), func() bool { return len(d.board.out()) == 0 })
	}
	e.out, e.returns = d.board.out(), d.returns.all

	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		d.gather(&e)
	}()
	d.follow(stopped, nil)
	for event := range d.events.Events() { // The app has stopped: this ends.
		d.report.event(max(0, event.Head().Time.Sub(d.start)), event)
	}
	if n := d.events.Dropped(); n > 0 {
		e.trouble = errors.Join(e.trouble, fmt.Errorf("%d events came faster than they were shown", n))
	}
	return e
}

// doFaults runs the schedule of faults on the built-in set.
func (d *demo) doFaults(playing context.Context) error {
	if d.stage == nil {
		return nil
	}
	return newFaults(d.stage, func(a announcement) { d.news <- a }).run(playing, d.settings.length)
}

// follow shows what happens until done is closed or enough says so.
func (d *demo) follow(done <-chan struct{}, enough func() bool) {
	events := d.events.Events()
	for enough == nil || !enough() {
		select {
		case e, ok := <-events:
			if !ok {
				events = nil // The app was stopped.
				continue
			}
			d.board.apply(e)
			d.report.event(max(0, e.Head().Time.Sub(d.start)), e)
		case a := <-d.news:
			d.report.fault(a.at.Sub(d.start), a)
			if a.returned != "" {
				d.returns.came(a.cause, a.returned, a.at)
			}
		case now := <-d.slices:
			d.returns.look(d.game.meter.slice(), d.board.serving(), now)
		case now := <-d.seconds:
			d.report.second(newTable(now.Sub(d.start), d.settings.length, d.board, d.game.meter.second(), d.game.openSaves.Load()))
		case <-done:
			return
		}
	}
}

// gather fills in what the players, the members and the documents have to say, and
// stops the app.
func (d *demo) gather(e *evidence) {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	g := d.game
	g.leave()
	e.reads, e.wrongDocuments = g.reads.Load(), g.wrongDocuments.Load()
	e.unansweredReads, e.strayReplies = g.openReads.Load(), g.strayReplies.Load()
	e.failedReads, e.lastReadError = g.meter.failures()
	e.saves = g.ledger.all()
	if d.settings.writers > 0 {
		var err error
		e.stored, err = stored(ctx, d.settings.uri, g.database, g.collection)
		e.trouble = errors.Join(e.trouble, err)
		if d.stage == nil {
			e.trouble = errors.Join(e.trouble, g.drop(ctx))
		}
	}
	e.trouble = errors.Join(e.trouble, d.app.Stop(ctx))
	if d.stage != nil {
		e.astray = d.stage.astray()
	}
}
