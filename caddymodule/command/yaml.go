package command

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"regexp"

	"gopkg.in/yaml.v3"
)

// writeYAML writes a JSON value as YAML: members in the same order, numbers digit by digit, and strings that another
// reader could take for something else in quotes.
func writeYAML(w io.Writer, value json.RawMessage) error {
	if !json.Valid(value) { // also bounds the depth
		return errors.New("not a JSON value")
	}
	d := json.NewDecoder(bytes.NewReader(value))
	d.UseNumber()
	node, err := yamlNode(d)
	if err != nil {
		return err
	}
	e := yaml.NewEncoder(w)
	e.SetIndent(2)
	if err := e.Encode(node); err != nil {
		return err
	}
	return e.Close()
}

// yamlNode reads one value.
func yamlNode(d *json.Decoder) (*yaml.Node, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch v := token.(type) {
	case json.Delim:
		return yamlCollection(d, v)
	case json.Number:
		return &yaml.Node{Kind: yaml.ScalarNode, Value: v.String()}, nil
	case string:
		if !plainText.MatchString(v) {
			return &yaml.Node{Kind: yaml.ScalarNode, Style: yaml.DoubleQuotedStyle, Tag: "!!str", Value: v}, nil
		}
	}
	n := &yaml.Node{}
	err = n.Encode(token) // quotes words such as yes, which are no strings to older readers
	return n, err
}

// plainText matches strings that need no quotes, but for words that have a meaning.
var plainText = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_./@-]*( [A-Za-z0-9_./@-]+)*$`)

// yamlCollection reads the rest of an object or an array.
func yamlCollection(d *json.Decoder, open json.Delim) (*yaml.Node, error) {
	n := &yaml.Node{Kind: yaml.SequenceNode}
	if open == '{' {
		n.Kind = yaml.MappingNode
	}
	for d.More() {
		children := 1
		if n.Kind == yaml.MappingNode {
			children = 2 // name and value
		}
		for range children {
			child, err := yamlNode(d)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, child)
		}
	}
	_, err := d.Token() // the closing bracket
	if len(n.Content) == 0 {
		n.Style = yaml.FlowStyle // {} and []
	}
	return n, err
}
