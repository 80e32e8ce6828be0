package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/evenkeel/evenkeel/replset"
)

// replsetReport prints what a set that runs for others has to say.
type replsetReport interface {
	ready(*replset.Set, keys)
	reply(reply)
}

// replsetLines prints lines for people, and for programs that look for "ok".
type replsetLines struct{ w io.Writer }

func (l replsetLines) ready(set *replset.Set, k keys) { fmt.Fprintln(l.w, k.uri(set)) }

func (l replsetLines) reply(r reply) {
	if r.err != nil {
		fmt.Fprintln(l.w, "error:", oneLine(r.err))
		return
	}
	words := []string{"ok"}
	if r.text != "" {
		words = append(words, r.text)
	}
	for _, m := range r.members {
		words = append(words, fmt.Sprintf("%d=%s,%s", m.Index, m.Host, m.State))
	}
	fmt.Fprintln(l.w, strings.Join(words, " "))
}

// replsetJSON prints one JSON object a line.
type replsetJSON struct{ jsonLines }

type jsonReady struct {
	Type               string   `json:"type"`
	URI                string   `json:"uri"`
	Name               string   `json:"name"`
	Hosts              []string `json:"hosts"` // by index
	CAFile             string   `json:"ca_file,omitempty"`
	CertificateKeyFile string   `json:"certificate_key_file,omitempty"`
}

type jsonReply struct {
	Type    string          `json:"type"`
	Command string          `json:"command"`
	OK      bool            `json:"ok"`
	Error   string          `json:"error,omitempty"`
	Text    string          `json:"text,omitempty"`
	Members []memberSummary `json:"members,omitempty"`
}

func (j replsetJSON) ready(set *replset.Set, k keys) {
	ready := jsonReady{Type: "ready", URI: k.uri(set), Name: set.Name(), CAFile: k.authority, CertificateKeyFile: k.client}
	for _, m := range set.Members() {
		ready.Hosts = append(ready.Hosts, m.Host())
	}
	j.print(ready)
}

func (j replsetJSON) reply(r reply) {
	line := jsonReply{Type: "reply", Command: r.command, OK: r.err == nil, Text: r.text, Members: r.members}
	if r.err != nil {
		line.Error = oneLine(r.err)
	}
	j.print(line)
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }
