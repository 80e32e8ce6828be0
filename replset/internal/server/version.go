package server

import (
	"fmt"
	"strings"

	"github.com/evenkeel/evenkeel/replset/internal/query"
)

// DefaultVersion is the series of releases that a server speaks for when its Config
// names none.
const DefaultVersion = "8.0"

// wireVersion is the number by which drivers tell how new a server is. It rises by
// one with each release, which makes it the measure for what a server has.
type wireVersion int32

const (
	wire44 wireVersion = 9
	wire50 wireVersion = 13
	wire51 wireVersion = 14
	wire60 wireVersion = 17
	wire70 wireVersion = 21
	wire71 wireVersion = 22
	wire80 wireVersion = 25
)

// minWireVersion is what every server of these announces, however new it is.
const minWireVersion = 0

// Version is a series of releases of the server: it decides what a server announces, which
// commands it has and how it words some refusals. Everything else is alike.
type Version struct {
	series  string
	release [3]int32 // the one of the series that buildInfo names
	wire    wireVersion
}

var versions = []Version{
	{"4.4", [3]int32{4, 4, 29}, wire44},
	{"5.0", [3]int32{5, 0, 30}, wire50},
	{"6.0", [3]int32{6, 0, 19}, wire60},
	{"7.0", [3]int32{7, 0, 14}, wire70},
	{"8.0", [3]int32{8, 0, 4}, wire80},
}

// ParseVersion returns the series of that name, such as "8.0".
func ParseVersion(series string) (Version, error) {
	var known []string
	for _, v := range versions {
		if v.series == series {
			return v, nil
		}
		known = append(known, `"`+v.series+`"`)
	}
	return Version{}, fmt.Errorf("%q is none of %s", series, strings.Join(known, ", "))
}

// Versions are the series that there are, oldest first.
func Versions() []string {
	var names []string
	for _, v := range versions {
		names = append(names, v.series)
	}
	return names
}

// String is the release that buildInfo names.
func (v Version) String() string {
	return fmt.Sprintf("%d.%d.%d", v.release[0], v.release[1], v.release[2])
}

// word puts a command's refusal into the words of a version. The code that refuses speaks
// like a 7.0 server.
func (v Version) word(e *query.Error) *query.Error {
	said := *e
	switch {
	case e.Code == codeOutOfBounds && v.wire >= wire80:
		said.Code, said.Name = codeBadValue, codeName(codeBadValue)
	case e.Code == codeDuplicateField && v.wire >= wire80:
		said.Name = "IDLDuplicateField"
	case e.Code == codeMissingField && v.wire >= wire80:
		said.Name = "IDLFailedToParse"
	case e.Code == codeUnknownField && v.wire >= wire80:
		said.Name = "IDLUnknownField"
	default:
		return e
	}
	return &said
}
