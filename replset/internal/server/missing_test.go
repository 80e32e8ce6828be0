package server

import (
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

func TestWhatIsMissingHereIsNotCalledUnknown(t *testing.T) {
	aggregate := func(of any, stage string) bson.D {
		return d("aggregate", of, "pipeline", bson.A{d("$match", d()), d(stage, "x")}, "cursor", d())
	}
	for _, c := range []struct {
		series string
		cmd    bson.D
		code   int32
		says   string
	}{
		{"8.0", d("collMod", "c"), codeNotImplemented, "The command collMod is not supported by this server"},
		{"8.0", d("colMod", "c"), codeCommandNotFound, "no such command: 'colMod'"},
		{"8.0", d("enableSharding", "c"), codeCommandNotFound, "no such command: 'enableSharding'"},
		{"8.0", d("atlasVersion", 1), codeCommandNotFound, "no such command: 'atlasVersion'"},
		{"7.0", d("autoCompact", true), codeCommandNotFound, "no such command: 'autoCompact'"},
		{"8.0", d("autoCompact", true), codeNotImplemented, "The command autoCompact is not supported by this server"},
		{"8.0", aggregate("c", "$lookup"), codeNotImplemented, "The stage $lookup is not supported by this server"},
		{"8.0", aggregate("c", "$loopup"), 40324, "Unrecognized pipeline stage name: '$loopup'"},
		{"5.0", aggregate("c", "$fill"), 40324, "Unrecognized pipeline stage name: '$fill'"},
		{"6.0", aggregate("c", "$fill"), codeNotImplemented, "The stage $fill is not supported by this server"},
		{"8.0", aggregate("c", "$out"), codeNotImplemented, "The stage $out is not supported by this server"},
		{"8.0", with(aggregate("c", "$out"), "writeConcern", d("w", 1)), codeNotImplemented, "The stage $out is not supported by this server"},
		{"8.0", with(aggregate("c", "$merge"), "writeConcern", d("w", "majority")), codeNotImplemented, "The stage $merge is not supported by this server"},
		{"8.0", with(aggregate("c", "$limit"), "writeConcern", d("w", 1)), codeInvalidOptions, "Command does not support writeConcern"},
		{"8.0", d("aggregate", 1, "pipeline", bson.A{d("$currentOp", d())}, "cursor", d()), codeNotImplemented, "The stage $currentOp is not supported by this server"},
		{"8.0", d("aggregate", 1, "pipeline", bson.A{d("$match", d())}, "cursor", d()), codeInvalidNamespace, "{aggregate: 1} is not valid for '$match'; a collection is required."},
		{"8.0", d("aggregate", 1, "pipeline", bson.A{d("$curentOp", d())}, "cursor", d()), 40324, "Unrecognized pipeline stage name: '$curentOp'"},
	} {
		if got := start(t, "rs0", as(t, c.series)).dial().refused("test", c.cmd, c.code).Lookup("errmsg").StringValue(); got != c.says {
			t.Errorf("%s: %v: %s", c.series, c.cmd, got)
		}
	}
	for name := range missingCommands {
		if commandsByName[name] != nil {
			t.Errorf("%s is there", name)
		}
	}
}
