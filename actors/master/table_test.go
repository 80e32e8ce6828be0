package master

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"
)

// attemptRow is a row of the first table in ARCHITECTURE.md: what a failed attempt leaves
// open, for an operation of each shape.
type attemptRow struct {
	what    string
	codes   []int32
	labels  []string
	failure error // where no server said it
	want    [5]state
}

var attemptRows = []attemptRow{
	{"context over, or no time left, before it was written", nil, nil, context.DeadlineExceeded, [5]state{unsent, unsent, unsent, unsent, unsent}},
	{"connection broken, or time over, after it was written", nil, []string{driver.NetworkError}, driver.Error{Labels: []string{driver.NetworkError}, Wrapped: context.DeadlineExceeded}, [5]state{lost, lost, lost, lost, lost}},
	{"a reply that cannot be read", nil, nil, errors.New("malformed wire message"), [5]state{lost, lost, lost, lost, lost}},
	{"nothing was written", []int32{91, 189, 10107, 11602}, []string{driver.NoWritesPerformed}, nil, [5]state{refused, refused, refused, refused, refused}},
	{"not primary", []int32{10058, 10107, 13435, 13436}, nil, nil, [5]state{refused, interrupted, interrupted, refused, interrupted}},
	{"interrupted, shut down, stepped down, out of time, no write concern", []int32{6, 7, 50, 64, 79, 89, 91, 100, 189, 262, 9001, 11600, 11601, 11602}, nil, nil, [5]state{interrupted, interrupted, interrupted, interrupted, interrupted}},
	{"refused before the first document", []int32{13, 18, 59, 115, 225, 322, 323, 40414, 40415}, nil, nil, [5]state{refused, refused, refused, refused, refused}},
	{"too many requests", []int32{462}, []string{driver.ErrSystemOverloadedError, driver.ErrRetryableError}, nil, [5]state{refused, refused, refused, refused, refused}},
	{"refused for the name or the options of one collection", []int32{9, 20, 72, 73}, nil, nil, [5]state{refused, refused, interrupted, refused, interrupted}},
	{"any other code, such as", []int32{2, 48, 121, 11000}, nil, nil, [5]state{refused, interrupted, interrupted, refused, interrupted}},
}

// errors are what the row stands for.
func (r attemptRow) errors() []error {
	if r.failure != nil {
		return []error{r.failure}
	}
	var all []error
	for _, code := range r.codes {
		all = append(all, serverError(code, r.labels...))
	}
	return all
}

func (r attemptRow) String() string {
	codes := make([]string, len(r.codes))
	for i, c := range r.codes {
		codes[i] = fmt.Sprint(c)
	}
	return fmt.Sprintf("| %s | %s | %s | %v | %v | %v | %v | %v |",
		r.what, strings.Join(codes, ", "), strings.Join(r.labels, ", "), r.want[one], r.want[several], r.want[mixed], r.want[custom], r.want[customParts])
}

// operationRow is a row of the second one: what all attempts of an operation say together.
type operationRow struct {
	what, reports string
	shape         shape
	sent          []attempt
	err           error
	want          conclusion
	doubtful      bool
	reason        string
}

var (
	wasReplied     = attempt{state: replied}
	wasLost        = attempt{state: lost, err: networkError()}
	wasInterrupted = attempt{state: interrupted, err: serverError(11602)}
	wasNotPrimary  = attempt{state: refused, err: serverError(10107)}
	wasRefused     = attempt{state: refused, err: serverError(13)}

	operationRows = []operationRow{
		{"none", "no server, no connection, no time", one, nil, topology.ServerSelectionError{}, unexecuted, false, "never sent"},
		{"none", "anything else", one, nil, driver.ErrDocumentTooLarge, rejected, false, "refused by the driver"},
		{"replied", "nothing, or write errors", one, []attempt{wasReplied}, nil, answered, false, "replied"},
		{"lost, replied", "nothing, or write errors", one, []attempt{wasLost, wasReplied}, nil, answered, true, "replied"},
		{"interrupted, replied", "nothing, or write errors", one, []attempt{wasInterrupted, wasReplied}, nil, answered, false, "replied"},
		{"refused, replied", "another attempt's error", one, []attempt{wasNotPrimary, wasReplied}, mongo.CommandError{Code: 10107}, open, false, "the reply is not the one reported"},
		{"refused, replied (several collections)", "another attempt's error", mixed, []attempt{wasNotPrimary, wasReplied}, mongo.CommandError{Code: 10107}, answered, false, "replied"},
		{"replied, replied (several collections, two commands)", "nothing", mixed, []attempt{{state: replied, number: 1}, {state: replied, number: 2}}, nil, open, false, "went out in several commands"},
		{"lost", "anything", one, []attempt{wasLost}, context.DeadlineExceeded, open, false, "no reply to the last attempt"},
		{"interrupted", "anything", one, []attempt{wasInterrupted}, mongo.CommandError{Code: 11602}, open, false, "no reply to the last attempt"},
		{"lost, refused", "the refusal", one, []attempt{wasLost, wasRefused}, mongo.CommandError{Code: 13}, open, false, "refused after an attempt without reply"},
		{"replied, refused", "the refusal", one, []attempt{wasReplied, wasNotPrimary}, mongo.CommandError{Code: 10107}, open, false, "refused after an attempt that was executed"},
		{"refused, as not primary or overloaded", "the refusal, or time", one, []attempt{wasNotPrimary}, context.DeadlineExceeded, unexecuted, false, "refused for now"},
		{"refused, as not primary or overloaded (a command)", "the refusal", custom, []attempt{wasNotPrimary}, mongo.CommandError{Code: 10107}, rejected, false, "refused"},
		{"refused, for another reason", "the refusal, or time", one, []attempt{wasRefused}, context.DeadlineExceeded, rejected, false, "refused"},
	}

	// What becomes of a conclusion: the outcome, and whether it is sent again.
	becomes = map[conclusion][2]string{
		unexecuted: {"NotApplied at its deadline", "yes"},
		rejected:   {"NotApplied", "no"},
		answered:   {"as the reply says", "what stands behind a refused document"},
		open:       {"what is found out, else Unknown", "no"},
	}
)

func (r operationRow) String() string {
	of := becomes[r.want]
	what := of[0]
	if r.doubtful {
		what += "; its refusals are settled first"
	}
	return fmt.Sprintf("| %s | %s | %v | %s | %s | %s |", r.what, r.reports, r.want, what, of[1], r.reason)
}

func TestTheTablesOfOutcomesAreTrueRowByRow(t *testing.T) {
	for _, r := range attemptRows {
		for _, err := range r.errors() {
			for s, want := range r.want {
				if got := judgeFailure(shape(s), err); got != want {
					t.Errorf("%s: shape %d, %v: %v, want %v", r.what, s, err, got, want)
				}
			}
		}
	}
	for _, r := range operationRows {
		got := classify(r.shape, r.sent, r.err)
		if got.conclusion != r.want || got.doubtful != r.doubtful || got.reason != r.reason {
			t.Errorf("%s: %v (doubtful %v) because %q, want %v (%v) because %q", r.what, got.conclusion, got.doubtful, got.reason, r.want, r.doubtful, r.reason)
		}
	}
}

func TestEveryCodeThatIsJudgedIsInTheTable(t *testing.T) {
	listed := map[int32]bool{}
	for _, r := range attemptRows[:len(attemptRows)-1] { // The last one has examples.
		for _, code := range r.codes {
			listed[code] = true
		}
	}
	known := map[int32]bool{}
	for _, codes := range []map[int32]bool{notPrimary, unclear, early, late} {
		maps.Copy(known, codes)
	}
	if got, want := slices.Sorted(maps.Keys(listed)), slices.Sorted(maps.Keys(known)); !slices.Equal(got, want) {
		t.Errorf("the table has the codes\n%v\nand classify.go\n%v", got, want)
	}
}

// tableOf are the rows of the tables below a heading in ARCHITECTURE.md.
func tableOf(t *testing.T, heading string) (rows []string) {
	t.Helper()
	text, err := os.ReadFile("../../ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n"+heading+"\n")
	if at := strings.Index(section, "\n##"); at >= 0 {
		section = section[:at]
	}
	for line := range strings.Lines(section) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "| ") && !strings.HasPrefix(line, "| ---") && !strings.HasPrefix(line, "| **") {
			rows = append(rows, line)
		}
	}
	return rows
}

func TestTheTablesAreThoseOfTheArchitecture(t *testing.T) {
	var want []string
	for _, r := range attemptRows {
		want = append(want, r.String())
	}
	for _, r := range operationRows {
		want = append(want, r.String())
	}
	if got := tableOf(t, "### What became of a write"); !slices.Equal(got, want) {
		t.Errorf("ARCHITECTURE.md has\n%s\nand should have\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
