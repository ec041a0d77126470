package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestRulesInTheWordsOfAzure(t *testing.T) {
	alert := rule{Alert: "A", Expr: "up == 0\n", For: "15m", Labels: map[string]string{"severity": "critical"}, Annotations: map[string]string{"summary": "[sic]"}}
	for name, tc := range map[string]struct {
		change func(*rule)
		want   []string
		err    string
	}{
		"an alert has its time, its number, and no line break": {
			want: []string{`"for":"PT15M"`, `"severity":0`, `"expression":"up == 0"`, `"actions":"[variables('actions')]"`},
		},
		"a text that looks like an expression is none": {want: []string{`"summary":"[[sic]"`}},
		"a time of several units": {
			change: func(r *rule) { r.For = "1h30m" }, want: []string{`"for":"PT1H30M"`},
		},
		"a warning": {
			change: func(r *rule) { r.Labels = map[string]string{"severity": "warning"} }, want: []string{`"severity":2`},
		},
		"a record has neither severity nor actions": {
			change: func(r *rule) { *r = rule{Record: "r", Expr: "up"} }, want: []string{`{"enabled":true,"expression":"up","record":"r"}`},
		},
		"days are refused, which Azure writes otherwise": {
			change: func(r *rule) { r.For = "1d" }, err: "A waits for 1d: write it in hours, minutes and seconds",
		},
		"a severity that Azure has no number for is refused": {
			change: func(r *rule) { r.Labels = nil }, err: `A has the severity ""`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			changed := alert
			if tc.change != nil {
				tc.change(&changed)
			}
			got, err := azureRule(changed)
			if fmt.Sprint(err) != tc.err && (tc.err != "" || err != nil) {
				t.Fatalf("the error is %v, want %q", err, tc.err)
			}
			text, err := json.Marshal(got)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range tc.want {
				if !strings.Contains(string(text), want) {
					t.Errorf("it is %s, want %s in it", text, want)
				}
			}
		})
	}
}

func TestGroupsThatAzureWouldRefuse(t *testing.T) {
	crowd := groups{Groups: []group{{Name: "crowd", Rules: make([]rule, mostRules+1)}}}
	if _, err := template(crowd); err == nil || !strings.Contains(err.Error(), "the group crowd has 21 rules, Azure takes 20: divide it") {
		t.Errorf("the error is %v", err)
	}
}
