package query

import "testing"

func TestPatternsMeanWhatTheyMeanToPCRE(t *testing.T) {
	for _, c := range []struct {
		pattern, flags string
		yes, no        []string
	}{
		{`^a$`, "", []string{"a", "a\n"}, []string{"a\nb", "ba"}},
		{`^a$`, "m", []string{"a", "b\na\nc"}, []string{"ab"}},
		{`^a\z`, "", []string{"a"}, []string{"a\n"}},
		{`^a\Z`, "", []string{"a", "a\n"}, []string{"a\n\n"}},
		{`a\sb`, "", []string{"a b", "a\vb"}, []string{"ab"}},
		{`a\Sb`, "", []string{"axb"}, []string{"a b", "a\vb"}},
		{`a[\s_]b`, "", []string{"a\vb", "a_b"}, []string{"axb"}},
		{`a\hb`, "", []string{"a\tb", "a b"}, []string{"a\nb"}},
		{`a[\h-]b`, "", []string{"a\tb", "a-b"}, []string{"a\nb"}},
		{`a\vb`, "", []string{"a\nb", "a\vb"}, []string{"a b"}},
		{`a[\v]b`, "", []string{"a\nb"}, []string{"avb"}},
		{`\e`, "", []string{"\x1b"}, []string{"e"}},
		{`[]a]`, "", []string{"]", "a"}, []string{"b"}},
		{`[^]a]`, "", []string{"b"}, []string{"]", "a", ""}},
		{`[[:digit:]$]`, "", []string{"5", "$"}, []string{"a"}},
		{`\$5`, "", []string{"$5"}, []string{"5"}},
		{`\Qa.b$\E+`, "", []string{"a.b$"}, []string{"axb"}},
		{`\Qa.b`, "", []string{"a.b"}, []string{"axb"}},
		{"a b\t# note\nc \\  [ #]", "x", []string{"abc #", "abc  "}, []string{"a b"}},
		{`É`, "i", []string{"é"}, []string{"e"}},
		{`a{2}`, "u", []string{"aa"}, []string{"a"}},
	} {
		re, err := compileRegex(c.pattern, c.flags)
		if err != nil {
			t.Errorf("/%s/%s: %v", c.pattern, c.flags, err)
			continue
		}
		for _, s := range c.yes {
			if !re.of(stringValue(s)) {
				t.Errorf("/%s/%s does not match %q", c.pattern, c.flags, s)
			}
		}
		for _, s := range c.no {
			if re.of(stringValue(s)) {
				t.Errorf("/%s/%s matches %q", c.pattern, c.flags, s)
			}
		}
	}
	for _, pattern := range []string{`a\`, `(?<!x)y`, `(a)\1`, `a*+`, `(?>a)`, `\K`, `\R`, `a\cx`, `(?x)a`, `a{2000}`} {
		_, err := compileRegex(pattern, "")
		refused(t, err, 51091, "Regular expression is invalid")
	}
	_, err := compileRegex("a\x00b", "")
	refused(t, err, 2, "embedded null byte")
}
