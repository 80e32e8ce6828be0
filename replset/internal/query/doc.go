// Package query reads MongoDB's query, update, projection, sort and aggregation
// languages. It is pure: documents in, documents or *Error out.
//
// Everything is compiled once (CompileFilter, CompileUpdate, CompileProjection,
// CompileSort, CompilePipeline) and then evaluated over the documents' bytes, without
// decoding them. What is compiled is immutable, keeps no reference to what it was
// read from, and may be used from any goroutine. No bytes make it panic: malformed documents
// end where they stop making sense, and ValidateDocument is what refuses them.
//
// The languages are those of a current server (8.0), and so are the refusals:
// the server's code, name and, as near as known, text. What the server has and this
// package has not is refused too, never ignored, with NotImplemented (238), or for
// stages and expressions with the codes of unknown ones: $where, $text, $jsonSchema and
// geospatial queries; positional (a.$) projections of find; sorts by $meta; expressions on
// dates but $add and $subtract, conversions between types, regular expressions in
// expressions, trigonometry and logarithms; collations, which a caller has to refuse.
// Regular expressions are RE2's: look-around, back-references and possessive
// quantifiers are refused as invalid.
//
// An expression that fails on a constant is refused when it meets a document; the server
// may refuse it before.
package query
