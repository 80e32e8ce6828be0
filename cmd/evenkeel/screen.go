package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/evenkeel/evenkeel/messages"
)

// screen keeps the table in its place at the bottom of a terminal, and lets what
// happens scroll by above it.
type screen struct {
	w     io.Writer
	width func() int // of the terminal, in columns

	shown []string // the table's lines that are on the screen
}

// terminal returns the file that w writes to when that is a terminal.
func terminal(w io.Writer) (*os.File, bool) {
	f, ok := w.(*os.File)
	return f, ok && term.IsTerminal(int(f.Fd()))
}

func newScreen(f *os.File) *screen {
	return &screen{w: f, width: func() int {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
			return w
		}
		return 80
	}}
}

// draw replaces the table, with what scrolls away above it. Everything goes out in
// one write, so that nothing flickers.
func (s *screen) draw(above []string, below []string) {
	var b strings.Builder
	if n := len(s.shown); n > 0 {
		fmt.Fprintf(&b, "\x1b[%dA\x1b[J", n) // Up to the table's first line; clear from there.
	}
	for _, line := range above {
		b.WriteString(line + "\n")
	}
	// A line that wraps would be two when the cursor goes up again.
	width := s.width()
	s.shown = s.shown[:0]
	for _, line := range below {
		s.shown = append(s.shown, line)
		b.WriteString(cut(line, width-1) + "\n")
	}
	io.WriteString(s.w, b.String())
}

// cut shortens a line to a number of columns.
func cut(line string, columns int) string {
	if utf8.RuneCountInString(line) <= columns || columns < 1 {
		return line
	}
	runes := []rune(line)
	return string(runes[:columns-1]) + "…"
}

func (s *screen) second(t table) { s.draw(nil, tableLines(t)) }

func (s *screen) event(at time.Duration, e messages.Event) {
	s.draw([]string{eventLine(at, e)}, append([]string(nil), s.shown...))
}

func (s *screen) fault(at time.Duration, a announcement) {
	// In reverse video, since it is what to look for.
	s.draw([]string{"\x1b[7m" + faultLine(at, a) + "\x1b[m"}, append([]string(nil), s.shown...))
}

func (s *screen) verdict(v verdict) {
	s.shown = nil // The last table stays.
	s.draw(append([]string{""}, verdictLines(v)...), nil)
}
