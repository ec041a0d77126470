package doctor

import (
	"encoding/xml"
	"io"
)

type suite struct {
	XMLName  xml.Name `xml:"testsuite"`
	Name     string   `xml:"name,attr"`
	Tests    int      `xml:"tests,attr"`
	Failures int      `xml:"failures,attr"`
	Skipped  int      `xml:"skipped,attr"`
	Cases    []testCase
}

type testCase struct {
	XMLName xml.Name `xml:"testcase"`
	Name    string   `xml:"name,attr"`
	Class   string   `xml:"classname,attr"`
	Failure *verdict `xml:"failure,omitempty"`
	Skipped *verdict `xml:"skipped,omitempty"`
}

type verdict struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// WriteJUnit writes the report as CI systems read it: a failure for each finding, a
// skipped case for each check that could not be made.
func WriteJUnit(w io.Writer, r *Report) error {
	s := suite{Name: "kubectl hyperconverge doctor", Tests: len(r.Findings)}
	for _, f := range r.Findings {
		c := testCase{Name: f.Check + ": " + f.Message, Class: "doctor." + f.Check}
		switch f.Level {
		case Fail, Warn:
			s.Failures++
			c.Failure = &verdict{Message: f.Message, Text: f.Advice}
		case Unknown:
			s.Skipped++
			c.Skipped = &verdict{Message: f.Message}
		case Pass:
		}
		s.Cases = append(s.Cases, c)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	encoder := xml.NewEncoder(w)
	encoder.Indent("", "  ")
	if err := encoder.Encode(s); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}
