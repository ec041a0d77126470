package validation

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"
)

func documentOf(t testing.TB, text string) any {
	t.Helper()
	data, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var document any
	if err := decoder.Decode(&document); err != nil {
		t.Fatal(err)
	}
	return document
}

func TestValidateDocument(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		want       []string
	}{
		{name: "no arguments are valid", text: "{}"},
		{name: "arguments of all types are valid", text: "{apiVersion: a, kind: b, preference: Score, tierScores: {local: 90}, drivers: [a], maxStaleness: 10m, countPodsByNamespace: false, openStorage: {tls: {enabled: true, caFile: /ca}}}"},
		{name: "a field that is left empty has its default", text: "{maxStaleness: , openStorage: }"},
		{name: "a number without a unit is told the unit", text: "maxStaleness: 10",
			want: []string{`args.maxStaleness: Invalid value: 10: 10 needs a unit: 10s`}},
		{name: "a text without a unit is told the unit", text: `openStorage: {requestTimeout: "2.5"}`,
			want: []string{`args.openStorage.requestTimeout: Invalid value: "2.5": 2.5 needs a unit: 2.5s`}},
		{name: "a percentage without its sign is told the sign", text: "localFirst: {maxAllocation: {cpu: 90}}",
			want: []string{`args.localFirst.maxAllocation.cpu: Invalid value: 90: 90 needs a percent sign: 90%`}},
		{name: "what is no duration is told what one looks like", text: "unknownVolumeGracePeriod: soon",
			want: []string{`args.unknownVolumeGracePeriod: Invalid value: "soon": must be a duration such as 500ms, 10s or 1h30m`}},
		{name: "a boolean in quotes is told to lose them", text: `openStorage: {tls: {enabled: "true"}}`,
			want: []string{`args.openStorage.tls.enabled: Invalid value: "true": must be true or false, without quotes`}},
		{name: "a score that is no whole number is told", text: "tierScores: {rack: 0.5, zone: many}",
			want: []string{
				`args.tierScores.rack: Invalid value: 0.5: must be a whole number, without quotes`,
				`args.tierScores.zone: Invalid value: "many": must be a whole number, without quotes`,
			}},
		{name: "a number where a text belongs is told to be put in quotes", text: "openStorage: {tokenFile: 17}",
			want: []string{`args.openStorage.tokenFile: Invalid value: 17: must be a text: put it in quotes`}},
		{name: "a text where a list belongs is told", text: "drivers: pxd.portworx.com",
			want: []string{`args.drivers: Invalid value: "pxd.portworx.com": must be a list`}},
		{name: "a list with a number in it is told which", text: "topologyKeys: {rack: [px/rack, 1]}",
			want: []string{`args.topologyKeys.rack[1]: Invalid value: 1: must be a text: put it in quotes`}},
		{name: "a text where fields belong is told the fields", text: "tierScores: high",
			want: []string{`args.tierScores: Invalid value: "high": must be an object with the fields local, rack, region, remote, zone`}},
		{name: "an unknown field is told the nearest known one", text: "{preferance: Score, openStorage: {end_point: a, TLS: {}}}",
			want: []string{
				`args.openStorage.TLS: Invalid value: {}: unknown field "openStorage.TLS": did you mean tls?`,
				`args.openStorage.end_point: Invalid value: "a": unknown field "openStorage.end_point": did you mean endpoint?`,
				`args.preferance: Invalid value: "Score": unknown field "preferance": did you mean preference?`,
			}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got []string
			for _, err := range ValidateDocument(field.NewPath("args"), documentOf(t, tc.text)) {
				got = append(got, err.Error())
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("errors (-want +got):\n%s", diff)
			}
		})
	}
}
