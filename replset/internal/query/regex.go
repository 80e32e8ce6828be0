package query

import (
	"regexp"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// matchesRegex is a pattern on strings. A regular expression that is itself the
// value matches if it is the same one.
type matchesRegex struct {
	pattern, flags string
	re             *regexp.Regexp
}

func (m *matchesRegex) of(v bson.RawValue) bool {
	switch v.Type {
	case bson.TypeString, bson.TypeSymbol:
		return m.re.Match(readString(v))
	case bson.TypeRegex:
		p, f := readRegex(v)
		return string(p) == m.pattern && string(f) == m.flags
	}
	return false
}

// compileRegex compiles with RE2 (package regexp) what the server would give to
// PCRE. What RE2 does not know (look-around, back-references, possessive
// quantifiers) is refused as the server refuses an invalid pattern.
func compileRegex(pattern, flags string) (*matchesRegex, error) {
	if strings.IndexByte(pattern, 0) >= 0 {
		return nil, refuse(badValue, "Regular expression cannot contain an embedded null byte")
	}
	prefix, extended := "", false
	for _, f := range flags {
		switch f {
		case 'i', 'm', 's':
			prefix += string(f)
		case 'x':
			extended = true
		case 'u': // patterns are UTF-8 anyway
		default:
			return nil, refuse(51108, "invalid flag in regex options: %c", f)
		}
	}
	if prefix != "" {
		prefix = "(?" + prefix + ")"
	}
	translated, err := translateRegex(pattern, extended)
	if err != nil {
		return nil, err
	}
	re, reErr := regexp.Compile(prefix + translated)
	if reErr != nil {
		return nil, refuse(invalidRegex, "Regular expression is invalid: %v", reErr)
	}
	return &matchesRegex{pattern: pattern, flags: flags, re: re}, nil
}

// translateRegex rewrites what PCRE and RE2 both accept but read differently:
// the extended option, which RE2 lacks; $, which in PCRE also stands before a last
// newline; \s, which in PCRE includes the vertical tab; and the escapes
// of vertical and horizontal space.
func translateRegex(pattern string, extended bool) (string, error) {
	var b strings.Builder
	inClass, classStart := false, 0
	for i := 0; i < len(pattern); i++ {
		c := pattern[i]
		switch {
		case c == '\\':
			if i+1 == len(pattern) {
				return "", refuse(invalidRegex, "Regular expression is invalid: \\ at end of pattern")
			}
			i++
			if pattern[i] == 'Q' {
				end := strings.Index(pattern[i+1:], `\E`)
				quoted := pattern[i+1:]
				if end >= 0 {
					quoted = pattern[i+1 : i+1+end]
				}
				b.WriteString(regexp.QuoteMeta(quoted))
				i += len(quoted)
				if end >= 0 {
					i += 2
				}
				continue
			}
			escape, err := translateEscape(pattern[i], inClass)
			if err != nil {
				return "", err
			}
			b.WriteString(escape)
		case inClass:
			if c == ']' && i > classStart {
				inClass = false
			}
			if c == '[' && i+1 < len(pattern) && pattern[i+1] == ':' {
				if end := strings.Index(pattern[i:], ":]"); end >= 0 {
					b.WriteString(pattern[i : i+end+2])
					i += end + 1
					continue
				}
			}
			b.WriteByte(c)
		case c == '[':
			inClass, classStart = true, i+1
			b.WriteByte(c)
			if classStart < len(pattern) && pattern[classStart] == '^' {
				b.WriteByte('^')
				i++
				classStart++
			}
		case c == '$':
			b.WriteString(`(?:$|\n\z)`)
		case extended && (c == ' ' || c >= '\t' && c <= '\r'):
		case extended && c == '#':
			for i < len(pattern) && pattern[i] != '\n' {
				i++
			}
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), nil
}

func translateEscape(c byte, inClass bool) (string, error) {
	switch c {
	case 's':
		if inClass {
			return `\s\v`, nil
		}
		return `[\s\v]`, nil
	case 'S':
		if !inClass {
			return `[^\s\v]`, nil
		}
	case 'h':
		if inClass {
			return `\t\p{Zs}`, nil
		}
		return `[\t\p{Zs}]`, nil
	case 'v':
		if inClass {
			return `\n\v\f\r\x{85}\x{2028}\x{2029}`, nil
		}
		return `[\n\v\f\r\x{85}\x{2028}\x{2029}]`, nil
	case 'Z':
		return `(?:\n?\z)`, nil
	case 'e':
		return `\x1b`, nil
	case 'C', 'K', 'R', 'X', 'G', 'H', 'V', 'N', 'k', 'g', 'c':
		return "", refuse(invalidRegex, `Regular expression is invalid: this server has no \%c`, c)
	}
	return `\` + string(c), nil
}
