package caddymodule_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

// parsed are the declarations of a package without its tests.
func parsed(t *testing.T, folder string) (decls []ast.Decl) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(filepath.FromSlash(folder), "*.go"))
	if err != nil || len(names) == 0 {
		t.Fatalf("%s: %d files, %v", folder, len(names), err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		decls = append(decls, file.Decls...)
	}
	return decls
}

// options are the names that the methods of a type compare an option's name with.
func options(t *testing.T, folder, typ string) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	isOption := func(e ast.Expr) bool {
		id, ok := e.(*ast.Ident)
		return ok && id.Name == "option"
	}
	add := func(e ast.Expr) {
		if name, ok := literal(e); ok {
			names[name] = true
		}
	}
	for _, decl := range parsed(t, folder) {
		f, ok := decl.(*ast.FuncDecl)
		if !ok || f.Recv == nil || receiver(f) != typ {
			continue
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SwitchStmt:
				if n.Tag == nil || !isOption(n.Tag) {
					break
				}
				for _, clause := range n.Body.List {
					if c, ok := clause.(*ast.CaseClause); ok {
						for _, e := range c.List {
							add(e)
						}
					}
				}
			case *ast.BinaryExpr:
				if isOption(n.X) {
					add(n.Y)
				}
			}
			return true
		})
	}
	if len(names) == 0 {
		t.Fatalf("%s: no option of %s was found", folder, typ)
	}
	return names
}

// literal is the value of a text in the source.
func literal(e ast.Expr) (value string, ok bool) {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	value, err := strconv.Unquote(lit.Value)
	return value, err == nil
}

func receiver(f *ast.FuncDecl) string {
	e := f.Recv.List[0].Type
	if star, ok := e.(*ast.StarExpr); ok {
		e = star.X
	}
	id, _ := e.(*ast.Ident)
	if id == nil {
		return ""
	}
	return id.Name
}

// constants are the values of a package's text constants of a type.
func constants(t *testing.T, folder, typ string) map[string]bool {
	t.Helper()
	values := map[string]bool{}
	for _, decl := range parsed(t, folder) {
		g, ok := decl.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		for _, spec := range g.Specs {
			s, ok := spec.(*ast.ValueSpec)
			if !ok {
				continue
			}
			if id, ok := s.Type.(*ast.Ident); !ok || id.Name != typ {
				continue
			}
			for _, e := range s.Values {
				literal, ok := e.(*ast.BasicLit)
				if !ok {
					t.Fatalf("%s: a constant of type %s is no literal", folder, typ)
				}
				value, err := strconv.Unquote(literal.Value)
				if err != nil {
					t.Fatal(err)
				}
				values[value] = true
			}
		}
	}
	return values
}

// fields are the JSON names of a type's fields.
func fields(of any) (names []string) {
	typ := reflect.TypeOf(of)
	for i := range typ.NumField() {
		if f := typ.Field(i); f.Anonymous {
			names = append(names, fields(reflect.New(f.Type).Elem().Interface())...)
		}
		if name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ","); name != "" && name != "-" {
			names = append(names, name)
		}
	}
	return names
}

// inFunction visits the body of a package's function or method.
func inFunction(t *testing.T, folder, name string, visit func(ast.Node)) {
	t.Helper()
	var found bool
	for _, decl := range parsed(t, folder) {
		if f, ok := decl.(*ast.FuncDecl); ok && f.Name.Name == name {
			found = true
			ast.Inspect(f.Body, func(n ast.Node) bool { visit(n); return true })
		}
	}
	if !found {
		t.Fatalf("%s has no function %s", folder, name)
	}
}
