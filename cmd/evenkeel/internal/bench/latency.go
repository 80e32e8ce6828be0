package bench

import (
	"context"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

const (
	// openStretch is how much longer an open loop is measured than a closed one: the
	// last thousandth of its latencies wants some requests.
	openStretch = 1.5
	// slowBy is what the slow member adds to each find.
	slowBy = 50 * time.Millisecond
	// slowSettle is how long both sides may get used to it.
	slowSettle = 500 * time.Millisecond
	// lateNote is how late the open loop itself may be before that is said.
	lateNote = 5 * time.Millisecond
)

func healthyReads() scenario {
	var rows []Row
	quantiles := []float64{50, 99, 99.9}
	for _, q := range quantiles {
		rows = append(rows, Row{fmt.Sprintf("read_healthy_p%v", q), fmt.Sprintf("latency of FindOne by _id at a fixed rate, the %v%% quantile", q), millis, true})
	}
	return scenario{rows: rows, open: func(st *stage) (contest, error) {
		return &openContest{stage: st, rows: rows, quantiles: quantiles}, nil
	}}
}

func slowMember() scenario {
	rows := []Row{{"slow_member_p99", fmt.Sprintf("latency of FindOne by _id at a fixed rate while one secondary takes %v longer for each find, the 99%% quantile", slowBy), millis, true}}
	return scenario{
		rows: rows,
		needs: func(sv *server, _ *Settings) string {
			if sv.child == nil && !sv.canFail {
				return "it needs the built-in set, or a server with test commands (--setParameter enableTestCommands=1)"
			}
			return ""
		},
		open: func(st *stage) (contest, error) {
			return &openContest{stage: st, rows: rows, quantiles: []float64{99}, fault: slowFinds}, nil
		},
	}
}

// openContest measures the latencies of reads that arrive at a fixed rate.
type openContest struct {
	stage     *stage
	rows      []Row
	quantiles []float64
	// fault, if any, is done before the first round, and says how to take it back.
	fault func(context.Context, *stage) (undo func(context.Context) error, err error)

	sides sides
	undo  func(context.Context) error
	late  time.Duration
}

func (c *openContest) open(ctx context.Context) (err error) {
	st := c.stage
	if c.sides, err = st.openSides(ctx, 1, EqualPool); err != nil {
		return err
	}
	if c.fault != nil {
		if c.undo, err = c.fault(ctx, st); err != nil {
			return err
		}
	}
	for _, s := range c.sides.order(true) {
		length := st.warm()
		if c.fault != nil {
			length = slowSettle
		}
		gather(ctx, ctx, st.settings.Rate, length, readOne(st, s))
	}
	return nil
}

func (c *openContest) round(ctx context.Context, oursFirst bool) (round, error) {
	var r round
	if c.sides.ours == nil {
		if err := c.open(ctx); err != nil {
			return r, err
		}
	}
	length := time.Duration(openStretch * float64(c.stage.settings.Length))
	for _, s := range c.sides.order(oursFirst) {
		times, out, late := gather(ctx, ctx, c.stage.settings.Rate, length, readOne(c.stage, s))
		if ctx.Err() != nil {
			return r, ctx.Err()
		}
		c.late = max(c.late, late)
		out.values = map[string]float64{}
		for i, q := range c.quantiles {
			if d, ok := times.at(q); ok {
				out.values[c.rows[i].ID] = milliseconds(d)
			}
		}
		*r.of(s) = *out
	}
	return r, nil
}

func (c *openContest) finish(results []Result) {
	for i := range results {
		results[i].Note = rateNote(c.stage.settings.Rate, c.late)
	}
	if c.undo != nil {
		ctx, cancel := context.WithTimeout(context.Background(), judgeTimeout)
		defer cancel()
		if err := c.undo(ctx); err != nil {
			c.stage.say("warning: a fault was not taken back: " + oneLine(err))
		}
	}
	c.sides.close()
}

func rateNote(rate float64, late time.Duration) string {
	note := fmt.Sprintf("%.0f reads/s", rate)
	if late > lateNote {
		note += fmt.Sprintf("; the machine was busy: the load itself was up to %.0f ms late, which is in the latencies", milliseconds(late))
	}
	return note
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// slowFinds slows the finds of one secondary down.
func slowFinds(ctx context.Context, st *stage) (func(context.Context) error, error) {
	if c := st.server.child; c != nil {
		m, err := c.one(ctx, stateSecondary, 0)
		if err != nil {
			return nil, err
		}
		_, err = c.obey(ctx, "slow %d find %v", m.Index, slowBy)
		return func(ctx context.Context) error {
			_, err := c.obey(ctx, "slow %d find 0", m.Index)
			return err
		}, err
	}
	m, err := st.judge.secondary(ctx)
	if err != nil {
		return nil, err
	}
	failCommand := func(ctx context.Context, mode any, more ...bson.E) error {
		cmd := append(bson.D{{Key: "configureFailPoint", Value: "failCommand"}, {Key: "mode", Value: mode}}, more...)
		return m.client.Database("admin").RunCommand(ctx, cmd).Err()
	}
	err = failCommand(ctx, "alwaysOn", bson.E{Key: "data", Value: bson.D{
		{Key: "failCommands", Value: bson.A{"find"}}, {Key: "blockConnection", Value: true}, {Key: "blockTimeMS", Value: slowBy.Milliseconds()},
	}})
	return func(ctx context.Context) error { return failCommand(ctx, "off") }, err
}
