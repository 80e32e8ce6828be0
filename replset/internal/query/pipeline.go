package query

import (
	"bytes"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Pipeline is a compiled aggregation pipeline. It is immutable and may be used
// from any goroutine.
type Pipeline struct {
	stages []stage
	filter *Filter
}

// source gives one document after another until ok is false or an error ends
// it.
type source func() (doc bson.Raw, ok bool, err error)

// stage turns the documents that come into it into those that go out.
type stage func(in source) source

// CompilePipeline reads the stages of an aggregation. It keeps no reference to
// them.
func CompilePipeline(stages []bson.Raw) (*Pipeline, error) {
	p := &Pipeline{}
	for i, doc := range stages {
		doc = bytes.Clone(doc)
		name, s, err := compileStage(doc)
		if err != nil {
			return nil, err
		}
		if i == 0 && name == "$match" {
			if p.filter, err = CompileFilter(lookup(doc, name).Value); err != nil {
				return nil, err
			}
		}
		p.stages = append(p.stages, s)
	}
	return p, nil
}

var errStage = refuse(40323, "A pipeline stage specification object must contain exactly one field.")

// compileStage reads one stage, which it keeps.
func compileStage(doc []byte) (name string, s stage, err error) {
	if err := checkNesting(doc); err != nil {
		return "", nil, err
	}
	e := elementsOf(doc)
	key, spec, ok := e.next()
	if !ok || len(e.rest) > 0 {
		return "", nil, errStage
	}
	name = string(key)
	compile, ok := stageCompilers[name]
	if !ok {
		return name, nil, UnknownStage(name)
	}
	s, err = compile(spec)
	return name, s, err
}

// UnknownStage refuses stages that no server has. Those that a server has are the business of
// CheckStages.
func UnknownStage(name string) error {
	if name == "$collStats" { // The server's own business; package server has it where it may stand.
		return refuse(40602, "$collStats is only valid as the first stage in a pipeline.")
	}
	return refuse(unrecognizedPipelineStage, "Unrecognized pipeline stage name: '%s'", name)
}

// Filter is the $match at the pipeline's beginning, nil if there is none. A
// caller may use it to give Run fewer documents; Run applies it itself.
func (p *Pipeline) Filter() *Filter { return p.filter }

// Run sends the documents that next gives (until it says false) through the pipeline
// and returns what comes out. It stops asking for documents once a $limit is
// reached. The documents returned may be those that came in.
func (p *Pipeline) Run(next func() (bson.Raw, bool)) ([]bson.Raw, error) {
	in := source(func() (bson.Raw, bool, error) {
		doc, ok := next()
		return doc, ok, nil
	})
	for _, s := range p.stages {
		in = s(in)
	}
	var out []bson.Raw
	for {
		doc, ok, err := in()
		if err != nil {
			return nil, err
		}
		if !ok {
			return out, nil
		}
		if len(doc) > MaxDocumentSize {
			return nil, refuse(bsonObjectTooLarge, "BSONObj size: %d (0x%X) is invalid. Size must be between 0 and %d(16MB)", len(doc), len(doc), MaxDocumentSize)
		}
		out = append(out, doc)
	}
}

// drain collects what is left of in.
func drain(in source) ([]bson.Raw, error) {
	var docs []bson.Raw
	for {
		doc, ok, err := in()
		if err != nil || !ok {
			return docs, err
		}
		docs = append(docs, doc)
	}
}

// onceAll is a source of what make gives from all the documents of in.
func onceAll(in source, make func(in source) ([]bson.Raw, error)) source {
	var docs []bson.Raw
	started := false
	return func() (bson.Raw, bool, error) {
		if !started {
			started = true
			var err error
			if docs, err = make(in); err != nil {
				return nil, false, err
			}
		}
		if len(docs) == 0 {
			return nil, false, nil
		}
		doc := docs[0]
		docs = docs[1:]
		return doc, true, nil
	}
}

// mapped is a stage that turns each document, the scope's root, into another one.
func mapped(f func(*scope) bson.Raw) stage {
	return func(in source) source {
		return func() (bson.Raw, bool, error) {
			doc, ok, err := in()
			if !ok || err != nil {
				return nil, false, err
			}
			s := &scope{root: doc}
			doc = f(s)
			return doc, s.err == nil, s.failure()
		}
	}
}
