package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/evenkeel/evenkeel/messages"
)

// maxShareRestored is what is promised of a member that is a secondary again: that
// it has its share by then.
const maxShareRestored = time.Second

// evidence is all that the verdict rests on.
type evidence struct {
	length      time.Duration // how long the load was played
	interrupted bool

	reads           int64 // answered
	failedReads     int64
	lastReadError   error
	wrongDocuments  int64 // reads answered with another set's document
	unansweredReads int64
	strayReplies    int64

	saves  map[string][]save // by player, as sent
	stored map[string]player // as found at the end; nil where nothing was saved

	// builtIn says that it was the built-in set: its members have counted what they
	// executed for connections to another one's address, and each of them is back.
	builtIn bool
	astray  executed

	returns []homecoming
	out     []string // hosts that were not live at the end
	trouble error    // what kept the demo from being played or judged as planned
}

// verdict is what the demo ends with. A pointer is nil where nothing was measured.
type verdict struct {
	Type        string  `json:"type"` // "verdict"
	OK          bool    `json:"ok"`
	Interrupted bool    `json:"interrupted"`
	Seconds     float64 `json:"seconds"`

	Reads           int64  `json:"reads"`
	Saves           int64  `json:"saves"` // acknowledged
	WrongHostReads  *int64 `json:"wrong_host_reads"`
	WrongHostWrites *int64 `json:"wrong_host_writes"`
	LostSaves       int64  `json:"lost_saves"`
	DuplicateSaves  int64  `json:"duplicate_saves"`
	OrderViolations int64  `json:"order_violations"`
	FailedReads     int64  `json:"failed_reads"`
	// Unanswered reads and saves got no reply; StrayReplies were more than one, or
	// answered nothing.
	Unanswered   int64 `json:"unanswered"`
	StrayReplies int64 `json:"stray_replies"`
	// UntrueReplies said that a save was not applied, and it was; or it was never sent.
	UntrueReplies   int64  `json:"untrue_replies"`
	ShareRestoredMS *int64 `json:"share_restored_ms"`
	// HostsOut were not live at the end.
	HostsOut []string `json:"hosts_out"`

	// UnknownSaves and RefusedSaves were truly said to be so; no promise is broken by
	// them.
	UnknownSaves int64 `json:"unknown_saves"`
	RefusedSaves int64 `json:"refused_saves"`

	Returns []comeback `json:"returns"`
	Broken  []string   `json:"broken"` // names of the fields above
	Error   string     `json:"error,omitempty"`

	promises []promise
}

// comeback is how long a host took from the end of a fault to its share.
type comeback struct {
	Cause    string `json:"cause"`
	Host     string `json:"host"`
	MS       int64  `json:"ms"`
	Restored bool   `json:"restored"`
}

// promise is one line of the verdict.
type promise struct {
	text, found string
	kept        bool
	unjudged    bool // nothing was there to judge it by
}

// judge weighs the evidence.
func judge(e evidence) verdict {
	v := verdict{
		Type: "verdict", Interrupted: e.interrupted, Seconds: e.length.Round(time.Millisecond).Seconds(),
		Reads: e.reads, FailedReads: e.failedReads, StrayReplies: e.strayReplies, Unanswered: e.unansweredReads,
		HostsOut: append([]string{}, e.out...), Returns: []comeback{}, Broken: []string{},
	}
	if e.builtIn {
		// A read at a wrong host is seen by who executed it, and by who got its document.
		reads := max(e.astray.reads, e.wrongDocuments)
		v.WrongHostReads, v.WrongHostWrites = &reads, &e.astray.writes
	} else if e.wrongDocuments > 0 {
		v.WrongHostReads = &e.wrongDocuments
	}
	v.judgeSaves(e)
	back, backJudged := v.judgeReturns(e.returns)

	v.promise("wrong_host_reads", "no read from a wrong host", zero(v.WrongHostReads), v.WrongHostReads != nil,
		"%s of %d reads", count(v.WrongHostReads), v.Reads)
	v.promise("wrong_host_writes", "no write to a wrong host", zero(v.WrongHostWrites), v.WrongHostWrites != nil,
		"%s writes", count(v.WrongHostWrites))
	v.promise("lost_saves", "no acknowledged save is lost", v.LostSaves == 0, v.Saves > 0, "%d of %d saves", v.LostSaves, v.Saves)
	v.promise("duplicate_saves", "none happens twice", v.DuplicateSaves == 0, v.Saves > 0, "%d", v.DuplicateSaves)
	v.promise("order_violations", "each player's saves keep their order", v.OrderViolations == 0, v.Saves > 0, "%d out of order", v.OrderViolations)
	v.promise("untrue_replies", "no save's reply is untrue", v.UntrueReplies == 0, v.Saves > 0, "%d; %d refused, %d unknown", v.UntrueReplies, v.RefusedSaves, v.UnknownSaves)
	v.promise("unanswered", "every read and save is answered", v.Unanswered == 0, true, "%d were not", v.Unanswered)
	v.promise("stray_replies", "and answered once", v.StrayReplies == 0, true, "%d replies too many", v.StrayReplies)
	found := fmt.Sprintf("%d of %d", v.FailedReads, v.Reads)
	if e.lastReadError != nil {
		found += ", the last one: " + e.lastReadError.Error()
	}
	v.promise("failed_reads", "no read fails", v.FailedReads == 0, v.Reads > 0 || v.FailedReads > 0, "%s", found)
	v.promise("share_restored_ms", fmt.Sprintf("a returned secondary has its share within %v", maxShareRestored), back, backJudged, "%s ms", count(v.ShareRestoredMS))
	found = "all are live"
	if len(e.out) > 0 {
		found = strings.Join(e.out, ", ") + " not live at the end"
	}
	v.promise("hosts_out", "no host is given up", len(e.out) == 0, e.builtIn && !e.interrupted, "%s", found)
	if e.trouble != nil {
		v.Error = e.trouble.Error()
	}
	v.OK = len(v.Broken) == 0 && v.Error == ""
	return v
}

// promise adds a line, and the field's name to the broken ones if it is.
func (v *verdict) promise(field, text string, kept, judged bool, found string, args ...any) {
	if judged && !kept {
		v.Broken = append(v.Broken, field)
	}
	p := promise{text: text, found: fmt.Sprintf(found, args...), kept: kept, unjudged: !judged}
	if !judged {
		p.found = "nothing to judge it by"
	}
	v.promises = append(v.promises, p)
}

// judgeSaves holds what the players were told against what is stored.
func (v *verdict) judgeSaves(e evidence) {
	for who, p := range e.stored {
		if _, saved := e.saves[who]; !saved {
			v.UntrueReplies += int64(len(p.Saves))
		}
	}
	for who, saves := range e.saves {
		times := map[int64]int64{}
		var highest int64
		for _, n := range e.stored[who].Saves {
			times[n]++
			if times[n] > 1 {
				v.DuplicateSaves++
				continue
			}
			if n < highest {
				v.OrderViolations++
			}
			highest = max(highest, n)
		}
		for _, s := range saves {
			there := times[s.number] > 0
			delete(times, s.number)
			switch {
			case !s.answered:
				v.Unanswered++
			case s.outcome == messages.Applied:
				v.Saves++
				if !there {
					v.LostSaves++
				}
			case s.outcome == messages.Unknown:
				v.UnknownSaves++
			default:
				v.RefusedSaves++
				if there {
					v.UntrueReplies++
				}
			}
		}
		v.UntrueReplies += int64(len(times)) // Numbers that nobody has sent.
	}
}

// judgeReturns fills in the comebacks. Of the promise only the return from
// maintenance is judged: a host that was answered by a stranger is kept out for some seconds
// on purpose, and a frozen one does not say when it thaws. A return that the end of the
// demo cut short within the promised time is not judged.
func (v *verdict) judgeReturns(returns []homecoming) (kept, judged bool) {
	kept = true
	for _, r := range returns {
		ms := r.took.Milliseconds()
		v.Returns = append(v.Returns, comeback{Cause: r.cause, Host: r.host, MS: ms, Restored: r.restored})
		if r.cause != causeMaintenance || !r.restored && r.took <= maxShareRestored {
			continue
		}
		judged = true
		kept = kept && r.restored && r.took <= maxShareRestored
		if v.ShareRestoredMS == nil || *v.ShareRestoredMS < ms {
			v.ShareRestoredMS = &ms
		}
	}
	return kept, judged
}

func zero(n *int64) bool { return n == nil || *n == 0 }

func count(n *int64) string {
	if n == nil {
		return "no"
	}
	return fmt.Sprint(*n)
}
