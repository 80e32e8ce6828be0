package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/evenkeel/evenkeel/cmd/evenkeel/internal/bench"
)

// benchProgress shows what goes on while rows are measured.
type benchProgress interface {
	say(line string)
	end()
}

// plainProgress prints lines one below the other, for a file or a pipe.
type plainProgress struct{ w io.Writer }

func (p plainProgress) say(line string) { fmt.Fprintln(p.w, line) }
func (p plainProgress) end()            {}

// liveProgress keeps the latest line in its place on a terminal. What went wrong stays
// above it.
type liveProgress struct{ *screen }

func newLiveProgress(f *os.File) liveProgress { return liveProgress{newScreen(f)} }

func (p liveProgress) say(line string) {
	if strings.Contains(line, "warning: ") || strings.Contains(line, "skipped: ") {
		p.draw([]string{line}, append([]string(nil), p.shown...))
		return
	}
	p.draw(nil, []string{line})
}

func (p liveProgress) end() { p.draw(nil, nil) }

// busy is the load average for each CPU above which that is said.
const busy = 0.5

// benchTable is the table of a report.
func benchTable(r *bench.Report) []string {
	out := append(benchHead(r), "",
		fmt.Sprintf("%-22s %12s %12s %-5s %8s  %-17s %s", "", "evenkeel", "driver", "", "ratio", "least … greatest", "evenkeel is"))
	var below []string
	worse := 0
	for i := range r.Results {
		one := &r.Results[i]
		driver, ratio, spread := "-", "-", ""
		if one.Driver != 0 {
			driver = number(one.Driver)
		}
		if one.Ratio != nil {
			ratio, spread = fmt.Sprintf("%.2f", *one.Ratio), fmt.Sprintf("%.2f … %.2f", *one.Min, *one.Max)
		}
		verdict := one.Verdict()
		if strings.HasPrefix(verdict, "WORSE") {
			worse++
		}
		out = append(out, strings.TrimRight(fmt.Sprintf("%-22s %12s %12s %-5s %8s  %-17s %s", one.ID, number(one.Ours), driver, one.Unit, ratio, spread, verdict), " "))
		if one.OurErrors+one.DriverErrors > 0 {
			below = append(below, fmt.Sprintf("%s: %d errors of evenkeel's, %d of the driver's; one of them: %s", one.ID, one.OurErrors, one.DriverErrors, one.Error))
		}
	}
	for _, s := range r.Skipped {
		word := "skipped"
		if s.Failed {
			word = "FAILED"
		}
		out = append(out, fmt.Sprintf("%-22s %s: %s", s.ID, word, s.Why))
	}
	out = append(out, "", "The ratio is evenkeel's value over the driver's, the median of the rounds' own; of ms, µs and 1/op less is better.")
	out = append(out, benchNotes(r)...)
	if len(below) > 0 {
		out = append(append(out, "Requests that failed or were answered wrongly:"), below...)
	}
	return append(out, fmt.Sprintf("Evenkeel does worse in %d of %d rows.", worse, len(r.Results)))
}

func benchHead(r *bench.Report) []string {
	server := fmt.Sprintf("a set of %d members", r.Server.Members)
	if r.Server.BuiltIn {
		server = fmt.Sprintf("the built-in set of %d members in another process", r.Server.Members)
	}
	bulk := "without bulkWrite"
	if r.Server.BulkWrite {
		bulk = "with bulkWrite"
	}
	cpu := r.Machine.CPU
	if cpu != "" {
		cpu = " (" + cpu + ")"
	}
	return []string{
		fmt.Sprintf("%d CPUs%s, %s/%s, %s", r.Machine.CPUs, cpu, r.Machine.OS, r.Machine.Arch, r.Machine.Go),
		fmt.Sprintf("%s, version %s, %s; w: %s; %d rounds", server, r.Server.Version, bulk, r.Concern, r.Rounds),
	}
}

// benchNotes says how rows were measured, once for all that were measured together.
func benchNotes(r *bench.Report) (out []string) {
	if r.Machine.Load > busy*float64(r.Machine.CPUs) {
		out = append(out, fmt.Sprintf("The machine was busy with other things (load average %.1f on %d CPUs): expect noise.", r.Machine.Load, r.Machine.CPUs))
	}
	var ids []string
	for i := range r.Results {
		note := benchNote(r, &r.Results[i])
		ids = append(ids, r.Results[i].ID)
		if i+1 < len(r.Results) && benchNote(r, &r.Results[i+1]) == note {
			continue
		}
		if note != "" {
			out = append(out, strings.Join(ids, ", ")+": "+note)
		}
		ids = nil
	}
	return out
}

func benchNote(r *bench.Report, one *bench.Result) string {
	var parts []string
	if one.Note != "" {
		parts = append(parts, one.Note)
	}
	if one.OurConnections+one.DriverConnections > 0 {
		parts = append(parts, fmt.Sprintf("connections to a member: evenkeel %d, driver %d", one.OurConnections, one.DriverConnections))
	}
	if one.Rounds != r.Rounds {
		parts = append(parts, fmt.Sprintf("rounds: %d", one.Rounds))
	}
	return strings.Join(parts, "; ")
}

// number is a value with the digits that mean something.
func number(x float64) string {
	switch {
	case x >= 1000:
		return fmt.Sprintf("%.0f", x)
	case x >= 10:
		return fmt.Sprintf("%.1f", x)
	}
	return fmt.Sprintf("%.3g", x)
}
