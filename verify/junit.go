package verify

import (
	"encoding/xml"
	"fmt"
	"io"
	"strconv"
)

type junitSuite struct {
	XMLName    xml.Name        `xml:"testsuite"`
	Name       string          `xml:"name,attr"`
	Tests      int             `xml:"tests,attr"`
	Failures   int             `xml:"failures,attr"`
	Skipped    int             `xml:"skipped,attr"`
	Properties []junitProperty `xml:"properties>property,omitempty"`
	Cases      []junitCase     `xml:"testcase"`
}

type junitProperty struct {
	Name  string `xml:"name,attr"`
	Value string `xml:"value,attr"`
}

type junitCase struct {
	Class   string        `xml:"classname,attr"`
	Name    string        `xml:"name,attr"`
	Failure *junitMessage `xml:"failure,omitempty"`
	Skipped *junitMessage `xml:"skipped,omitempty"`
}

type junitMessage struct {
	Message string `xml:"message,attr"`
}

// WriteJUnit writes the gates as JUnit test cases: one a gate, and of a gate over layers one a layer too.
func (r *Report) WriteJUnit(w io.Writer) error {
	s := junitSuite{Name: "zqonnx verify"}
	for _, p := range []junitProperty{
		{"tool", r.Tool},
		{"float", r.Models.Float.Path},
		{"float_sha256", r.Models.Float.SHA256},
		{"quantized", r.Models.Quantized.Path},
		{"quantized_sha256", r.Models.Quantized.SHA256},
		{"semantics", r.Semantics},
		{"data", r.Data.Source},
		{"samples", strconv.Itoa(r.Data.Samples)},
	} {
		if p.Value != "" {
			s.Properties = append(s.Properties, p)
		}
	}
	if r.NotVerified != "" {
		s.add(junitCase{Class: "zqonnx.verify", Name: "verification", Skipped: &junitMessage{"not verified: " + r.NotVerified}})
	}
	for _, result := range r.Gates {
		s.add(junitCase{Class: "zqonnx.gate", Name: result.Expr, Failure: failure(result)})
		g, err := ParseGate(result.Expr)
		if err != nil {
			return err
		}
		for _, c := range r.candidates(g) {
			if !c.layer {
				continue
			}
			test := junitCase{Class: "zqonnx.layer", Name: c.name + ": " + result.Expr}
			if g.measures(c) {
				test.Failure = failure(g.result(c))
			} else {
				test.Skipped = &junitMessage{"not measured"}
			}
			s.add(test)
		}
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(s); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func (s *junitSuite) add(c junitCase) {
	s.Cases = append(s.Cases, c)
	s.Tests++
	if c.Failure != nil {
		s.Failures++
	}
	if c.Skipped != nil {
		s.Skipped++
	}
}

// failure says why a gate failed; nil when it passed.
func failure(g GateResult) *junitMessage {
	if g.Pass {
		return nil
	}
	return &junitMessage{fmt.Sprintf("%s has %s, fail if %s", g.Where, numberText(exact, float64(g.Value)), g.Expr)}
}
