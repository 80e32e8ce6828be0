package bench

import (
	"fmt"
	"slices"
	"strings"
)

// Row is one line of the table.
type Row struct {
	ID string
	// Does is a sentence that says what is measured.
	Does string
	// Unit is that of both sides' values.
	Unit string
	// Lower says that the lower value is the better one.
	Lower bool
}

// The units.
const (
	perSecond = "1/s"
	millis    = "ms"
	micros    = "µs"
	nanos     = "ns"
	perOp     = "1/op"
	factor    = "times"
)

// Rows are all rows, in the order of the table.
func Rows() []Row {
	var rows []Row
	for _, s := range scenarios() {
		rows = append(rows, s.rows...)
	}
	return rows
}

// scenario is a measurement that fills one row or several.
type scenario struct {
	rows []Row
	// fewer is the number of rounds of a scenario that takes long, unless the user asks
	// for a number; 0 for the default.
	fewer int
	// needs says why the scenario cannot be played on a server; "" when it can. Nil for
	// those that always can.
	needs func(*server, *Settings) string
	open  func(*stage) (contest, error)
}

// scenarios are all of them. A row that differs from another only in what is looked at
// has the same scenario, so that it costs no more time.
func scenarios() []scenario {
	var all []scenario
	for _, n := range []int{1, 16, 64, 256, 1000} {
		all = append(all, pointReads(n))
	}
	for _, n := range []int{16, 64} {
		all = append(all, rangeReads(n))
	}
	for _, n := range []int{1, 16, 64, 256} {
		all = append(all, inserts(n, false))
	}
	for _, n := range []int{64, 256} {
		all = append(all, inserts(n, true))
	}
	all = append(all, serialInserts(256))
	for _, n := range []int{1, 16, 64, 256} {
		all = append(all, updates(n, false))
	}
	for _, n := range []int{64, 256} {
		all = append(all, updates(n, true))
	}
	return append(all, healthyReads(), slowMember(), frozenMember(), returnedMember(), stepDownGap(), killGap(), routing())
}

func pointReads(n int) scenario {
	load := closedLoad{callers: n, counted: []string{"find"}, one: readOne}
	s := scenario{rows: []Row{{fmt.Sprintf("point_reads_%d", n), fmt.Sprintf("FindOne by _id, %s", callers(n)), perSecond, false}}}
	load.fills = []metric{throughput}
	add := func(m metric, r Row) {
		load.fills, s.rows = append(load.fills, m), append(s.rows, r)
	}
	if n == 1 {
		add(medianLatency, Row{"one_reader", "latency of FindOne by _id, one caller, the median", micros, true})
	}
	if n == 1 || n == 256 {
		add(allocations, Row{fmt.Sprintf("read_allocs_%d", n), fmt.Sprintf("allocations of this process per FindOne by _id, %s", callers(n)), perOp, true})
	}
	if n == 256 {
		add(cpuTime, Row{"read_cpu_256", "CPU time of this process per FindOne by _id, 256 callers", micros, true})
		add(commands, Row{"read_commands_256", "find commands that the members have executed per FindOne by _id, 256 callers", perOp, true})
	}
	return load.scenario(s)
}

func rangeReads(n int) scenario {
	load := closedLoad{callers: n, fills: []metric{throughput}, one: readRange}
	return load.scenario(scenario{rows: []Row{
		{fmt.Sprintf("range_reads_%d", n), fmt.Sprintf("Find of 100 documents by a range, %s", callers(n)), perSecond, false},
	}})
}

func inserts(n int, lanes bool) scenario {
	return writes(closedLoad{callers: n, lanes: lanes, counted: []string{"insert", "bulkWrite"}, one: insertOne, ready: emptyInserts, check: countInserts},
		"insert", "InsertOne")
}

func updates(n int, lanes bool) scenario {
	return writes(closedLoad{callers: n, lanes: lanes, updates: true, counted: []string{"update", "bulkWrite"}, one: updateOne, ready: sumSaves, check: checkSaves},
		"update", "UpdateOne by _id")
}

// writes are the rows of a load of writes.
func writes(load closedLoad, word, method string) scenario {
	id, how := fmt.Sprintf("%ss_%d", word, load.callers), "one ordered lane against the driver's parallel ones"
	if load.lanes {
		id, how = id+"_lanes", fmt.Sprintf("%d lanes, a key for each document", manyLanes)
	}
	s := scenario{rows: []Row{{id, fmt.Sprintf("%s, %s, %s", method, callers(load.callers), how), perSecond, false}}}
	load.fills = []metric{throughput}
	add := func(m metric, r Row) {
		load.fills, s.rows = append(load.fills, m), append(s.rows, r)
	}
	if load.callers == 1 && word == "insert" {
		add(medianLatency, Row{"one_writer", "latency of InsertOne, one caller, the median", micros, true})
	}
	if load.lanes || load.callers != 1 && load.callers != 256 {
		return load.scenario(s)
	}
	add(allocations, Row{fmt.Sprintf("%s_allocs_%d", word, load.callers), fmt.Sprintf("allocations of this process per %s, %s, one lane", method, callers(load.callers)), perOp, true})
	if load.callers == 256 {
		add(cpuTime, Row{word + "_cpu_256", fmt.Sprintf("CPU time of this process per %s, 256 callers, one lane", method), micros, true})
		add(commands, Row{word + "_commands_256", fmt.Sprintf("commands that the members have executed per %s, 256 callers, one lane", method), perOp, true})
	}
	return load.scenario(s)
}

func serialInserts(n int) scenario {
	load := closedLoad{callers: n, fills: []metric{throughput}, one: insertInOrder, ready: emptyInserts, check: countInserts}
	return load.scenario(scenario{rows: []Row{
		{fmt.Sprintf("serial_inserts_%d", n), fmt.Sprintf("InsertOne, %s, in one order on both sides: one lane against the driver behind a mutex", callers(n)), perSecond, false},
	}})
}

func callers(n int) string {
	if n == 1 {
		return "one caller"
	}
	return fmt.Sprintf("%d callers", n)
}

// chosen are the scenarios that fill the rows of these ids, all for none. Its error
// names an id that there is not.
func chosen(only []string) ([]scenario, error) {
	all := scenarios()
	if len(only) == 0 {
		return all, nil
	}
	for _, id := range only {
		if !slices.ContainsFunc(Rows(), func(r Row) bool { return r.ID == id }) {
			return nil, fmt.Errorf("there is no row %q; --list names them", id)
		}
	}
	return slices.DeleteFunc(all, func(s scenario) bool {
		return !slices.ContainsFunc(s.rows, func(r Row) bool { return slices.Contains(only, r.ID) })
	}), nil
}

// titles are the ids of rows, for one line.
func titles(rows []Row) string {
	ids := make([]string, len(rows))
	for i, r := range rows {
		ids[i] = r.ID
	}
	return strings.Join(ids, ", ")
}
