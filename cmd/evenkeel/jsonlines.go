package main

import (
	"bytes"
	"encoding/json"
	"io"
	"time"

	"github.com/evenkeel/evenkeel/messages"
)

// jsonLines prints one JSON object a line: of type "second", "event", "fault", and
// last of all "verdict". "t" is the seconds since the start.
type jsonLines struct{ w io.Writer }

type jsonSecond struct {
	Type        string    `json:"type"`
	T           float64   `json:"t"`
	Reads       int64     `json:"reads_per_s"`
	P50         float64   `json:"p50_ms"`
	P99         float64   `json:"p99_ms"`
	FailedReads int64     `json:"failed_reads"` // since the start
	Saves       int64     `json:"saves_per_s"`
	SaveP50     float64   `json:"save_p50_ms"`
	SaveP99     float64   `json:"save_p99_ms"`
	OpenSaves   int64     `json:"open_saves"`
	Hosts       []jsonRow `json:"hosts"`
}

type jsonRow struct {
	Host  string  `json:"host"`
	Role  string  `json:"role"`
	State string  `json:"state"`
	Reads int64   `json:"reads_per_s"`
	Share float64 `json:"share"`
	P50   float64 `json:"p50_ms"`
	P99   float64 `json:"p99_ms"`
}

type jsonEvent struct {
	Type string  `json:"type"`
	T    float64 `json:"t"`
	Kind string  `json:"kind,omitempty"`
	Host string  `json:"host,omitempty"`
	Text string  `json:"text"`
	// Event has the event's own fields.
	Event messages.Event `json:"event,omitempty"`
}

func (j jsonLines) print(v any) {
	var line bytes.Buffer
	enc := json.NewEncoder(&line)
	enc.SetEscapeHTML(false) // A connection string is to be read by people too.
	if err := enc.Encode(v); err != nil {
		panic(err) // Every type above can be marshalled.
	}
	_, _ = j.w.Write(line.Bytes())
}

func (j jsonLines) second(t table) {
	s := jsonSecond{
		Type: "second", T: seconds(t.at), Reads: t.reads.count, P50: milliseconds(t.reads.p50), P99: milliseconds(t.reads.p99),
		FailedReads: t.failed, Saves: t.saves.count, SaveP50: milliseconds(t.saves.p50), SaveP99: milliseconds(t.saves.p99),
		OpenSaves: t.openSaves, Hosts: []jsonRow{},
	}
	for _, r := range t.rows {
		s.Hosts = append(s.Hosts, jsonRow{
			Host: r.host, Role: r.role, State: r.state, Reads: r.reads.count,
			Share: float64(int(r.share*10000+0.5)) / 10000, P50: milliseconds(r.reads.p50), P99: milliseconds(r.reads.p99),
		})
	}
	j.print(s)
}

func (j jsonLines) event(at time.Duration, e messages.Event) {
	j.print(jsonEvent{Type: "event", T: seconds(at), Kind: string(e.Kind()), Host: e.Head().Host, Text: e.String(), Event: e})
}

func (j jsonLines) fault(at time.Duration, a announcement) {
	j.print(jsonEvent{Type: "fault", T: seconds(at), Host: a.returned, Text: a.text})
}

func (j jsonLines) verdict(v verdict) { j.print(v) }

func seconds(d time.Duration) float64 { return d.Round(time.Millisecond).Seconds() }
