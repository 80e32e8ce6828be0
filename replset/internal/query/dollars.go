package query

import "go.mongodb.org/mongo-driver/v2/bson"

const invalidDBRef = 55

// checkDollars refuses names that begin with a dollar sign where none may be stored: by
// servers before 5.0, of what an update makes, but for the fields of a DBRef in their
// order. at is the path of doc, which ends in a dot if it is not empty. Taken from the
// server's source (storage_validation.cpp).
func checkDollars(doc []byte, at string, array bool) error {
	left := ""
	e := elementsOf(doc)
	for {
		key, v, ok := e.next()
		if !ok {
			return nil
		}
		name := string(key)
		if isDollar(key) && !array {
			if err := checkDollar(name, v, left, e, at); err != nil {
				return err
			}
		}
		if isObject(v) || isArray(v) {
			if err := checkDollars(v.Value, at+name+".", isArray(v)); err != nil {
				return err
			}
		}
		left = name
	}
}

// checkDollar is checkDollars for one name, which has left before it and rest behind.
func checkDollar(name string, v bson.RawValue, left string, rest elements, at string) error {
	right, _, _ := rest.next()
	switch {
	case name == "$db" && v.Type != bson.TypeString:
		return refuse(invalidDBRef, "The DBRef $db field must be a String, not a %s", TypeName(v.Type))
	case name == "$db" && left != "$id":
		return refuse(invalidDBRef, "Found $db field without a $id before it, which is invalid.")
	case name == "$id" && left != "$ref":
		return refuse(invalidDBRef, "Found $id field without a $ref before it, which is invalid.")
	case name == "$ref" && v.Type != bson.TypeString:
		return refuse(invalidDBRef, "The DBRef $ref field must be a String, not a %s", TypeName(v.Type))
	case name == "$ref" && string(right) != "$id":
		return refuse(invalidDBRef, "The DBRef $ref field must be followed by a $id field")
	case name == "$db", name == "$id", name == "$ref":
		return nil
	}
	return refuse(dollarPrefixedFieldName, "The dollar ($) prefixed field '%s' in '%s%s' is not valid for storage.", name, at, name)
}
