package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/evenkeel/evenkeel/messages"
)

// lines prints what happens one below the other, for a file or a pipe.
type lines struct{ w io.Writer }

func (l lines) second(t table) { fmt.Fprintln(l.w, strings.Join(tableLines(t), "\n")) }

func (l lines) event(at time.Duration, e messages.Event) { fmt.Fprintln(l.w, eventLine(at, e)) }

func (l lines) fault(at time.Duration, a announcement) { fmt.Fprintln(l.w, faultLine(at, a)) }

func (l lines) verdict(v verdict) { fmt.Fprintln(l.w, strings.Join(verdictLines(v), "\n")) }

func eventLine(at time.Duration, e messages.Event) string {
	return fmt.Sprintf("%6.2fs  %-15s %s", at.Seconds(), e.Kind(), e)
}

func faultLine(at time.Duration, a announcement) string {
	kind := ">>> FAULT"
	if a.returned != "" {
		kind = ">>> REPAIR"
	}
	return fmt.Sprintf("%6.2fs  %-15s %s", at.Seconds(), kind, a.text)
}

// tableLines are a second's table: a line for all, a heading, and a line for each
// host, of less than 80 columns unless a host's name is long.
func tableLines(t table) []string {
	clock := fmt.Sprintf("%.0f s", t.at.Seconds())
	if t.length > 0 {
		clock = fmt.Sprintf("%.0f of %.0f s", t.at.Seconds(), t.length.Seconds())
	}
	out := []string{fmt.Sprintf("--- %s: %d reads/s, %d failed; %d saves/s, p50 %s, p99 %s, %d open",
		clock, t.reads.count, t.failed, t.saves.count, short(t.saves.p50, t.saves.count), short(t.saves.p99, t.saves.count), t.openSaves)}
	wide := len("host")
	for _, r := range t.rows {
		wide = max(wide, len(r.host))
	}
	out = append(out, fmt.Sprintf("%-*s  %-10s %-10s %8s %7s %8s %8s", wide, "host", "state", "role", "reads/s", "share", "p50", "p99"))
	for _, r := range t.rows {
		out = append(out, fmt.Sprintf("%-*s  %-10s %-10s %8d %6.1f%% %8s %8s", wide, r.host, r.state, r.role,
			r.reads.count, 100*r.share, short(r.reads.p50, r.reads.count), short(r.reads.p99, r.reads.count)))
	}
	return out
}

// short is a latency in milliseconds, and a dash where nothing was measured.
func short(d time.Duration, n int64) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2fms", milliseconds(d))
}

// verdictLines are a line for each promise.
func verdictLines(v verdict) []string {
	head := fmt.Sprintf("=== verdict after %.0f s: %d reads, %d acknowledged saves", v.Seconds, v.Reads, v.Saves)
	if v.Interrupted {
		head += ", interrupted"
	}
	out := []string{head}
	for _, p := range v.promises {
		mark := "kept"
		switch {
		case p.unjudged:
			mark = "-"
		case !p.kept:
			mark = "BROKEN"
		}
		out = append(out, fmt.Sprintf("%-7s %-46s %s", mark, p.text, p.found))
	}
	for _, r := range v.Returns {
		if r.Restored {
			out = append(out, fmt.Sprintf("        %s had its share %d ms after the end of: %s", r.Host, r.MS, r.Cause))
		} else {
			out = append(out, fmt.Sprintf("        %s did not have its share yet, %d ms after the end of: %s", r.Host, r.MS, r.Cause))
		}
	}
	switch {
	case v.Error != "":
		out = append(out, "The demo could not be played or judged to its end: "+v.Error)
	case v.OK:
		out = append(out, "Every promise was kept.")
	default:
		out = append(out, "Broken: "+strings.Join(v.Broken, ", "))
	}
	return out
}
