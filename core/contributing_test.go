package core_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	itemStart = regexp.MustCompile(`(?m)^(?:\d+\. |- |\||#|$)`)
	codeSpan  = regexp.MustCompile("`([^`]+)`")
	citedPath = regexp.MustCompile(`^[\w.-]+(?:/[\w.-]+)*/?$`)
	citedName = regexp.MustCompile(`^[A-Za-z]\w*(?:\.[A-Za-z]\w*)*$`)
	citedTest = regexp.MustCompile(`\b(?:Test|Fuzz|Benchmark)[A-Z]\w*`)
	shellPath = regexp.MustCompile(`(?m)(?:^| )(?:\./)?((?:\.ci|caddymodule|core|storage|adminapi)/[\w/-]+)`)
)

// CONTRIBUTING.md is true: each path and each name that it cites exists. A name is declared in a Go file that the same
// paragraph, list item or row of a table cites, or begins with the name of its package.
func TestContributing_EachNameExists(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.FromSlash("../.github/CONTRIBUTING.md"))
	if err != nil {
		t.Fatal(err)
	}
	d := declarations(t)
	var paths, names int
	for i, part := range strings.Split(string(text), "```") {
		if i%2 == 1 { // a shell block
			for _, m := range shellPath.FindAllStringSubmatch(part, -1) {
				wantPath(t, m[1])
			}
			for _, name := range citedTest.FindAllString(part, -1) {
				d.wantTest(t, name)
			}
			continue
		}
		for _, item := range itemsOf(part) {
			var cited, files []string
			for _, m := range codeSpan.FindAllStringSubmatch(item, -1) {
				switch {
				case isPath(m[1]):
					paths++
					wantPath(t, m[1])
					files = append(files, m[1])
				case citedName.MatchString(m[1]):
					names++
					cited = append(cited, m[1])
				}
			}
			for _, name := range cited {
				if citedTest.FindString(name) == name {
					d.wantTest(t, name)
				} else {
					d.wantName(t, files, name)
				}
			}
		}
	}
	if paths < 100 || names < 100 {
		t.Errorf("only %d paths and %d names were found: does the text have another form?", paths, names)
	}
}

// itemsOf splits a text into paragraphs, list items and rows of tables.
func itemsOf(text string) (items []string) {
	from := 0
	for _, at := range itemStart.FindAllStringIndex(text, -1) {
		items, from = append(items, text[from:at[0]]), at[0]
	}
	return append(items, text[from:])
}

// isPath tells paths of the repository from names.
func isPath(cited string) bool {
	return citedPath.MatchString(cited) && (strings.Contains(cited, "/") || strings.HasSuffix(cited, ".md"))
}

func wantPath(t *testing.T, path string) {
	t.Helper()
	info, err := os.Stat(filepath.Join("..", filepath.FromSlash(path)))
	if err != nil || strings.HasSuffix(path, "/") && !info.IsDir() {
		t.Errorf("%s does not exist", path)
	}
}

// declared has the names that Go files declare, by the file's path and by the package's name. A method or a field is
// Type.Name.
type declared struct {
	files, packages map[string]map[string]bool
}

// wantTest fails the test if no package has a test, fuzz target or benchmark of that name.
func (d declared) wantTest(t *testing.T, name string) {
	t.Helper()
	for _, names := range d.packages {
		if names[name] {
			return
		}
	}
	t.Errorf("there is no %s", name)
}

// wantName fails the test if a name is declared neither in one of the files nor in the package that it begins with.
func (d declared) wantName(t *testing.T, files []string, name string) {
	t.Helper()
	for _, file := range files {
		if d.files[file][name] {
			return
		}
	}
	if pkg, rest, _ := strings.Cut(name, "."); !d.packages[pkg][rest] {
		t.Errorf("%s is declared neither in %q nor in a package of that name", name, files)
	}
}

// declarations reads all Go files of the module.
func declarations(t *testing.T) declared {
	t.Helper()
	d := declared{map[string]map[string]bool{}, map[string]map[string]bool{}}
	root := ".."
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && strings.HasPrefix(entry.Name(), ".") && path != root:
			return filepath.SkipDir
		case entry.IsDir() || !strings.HasSuffix(path, ".go"):
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		names := map[string]bool{}
		for _, decl := range parsed.Decls {
			addNames(names, decl)
		}
		d.files[filepath.ToSlash(rel)] = names
		pkg := strings.TrimSuffix(parsed.Name.Name, "_test")
		if d.packages[pkg] == nil {
			d.packages[pkg] = map[string]bool{}
		}
		for name := range names {
			d.packages[pkg][name] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// addNames adds what a declaration declares.
func addNames(names map[string]bool, decl ast.Decl) {
	switch decl := decl.(type) {
	case *ast.FuncDecl:
		name := decl.Name.Name
		if decl.Recv != nil {
			name = receiver(decl.Recv.List[0].Type) + "." + name
		}
		names[name] = true
	case *ast.GenDecl:
		for _, spec := range decl.Specs {
			switch spec := spec.(type) {
			case *ast.ValueSpec:
				for _, ident := range spec.Names {
					names[ident.Name] = true
				}
			case *ast.TypeSpec:
				names[spec.Name.Name] = true
				addMembers(names, spec)
			}
		}
	}
}

// addMembers adds the methods of an interface and the fields of a struct.
func addMembers(names map[string]bool, spec *ast.TypeSpec) {
	var members *ast.FieldList
	switch of := spec.Type.(type) {
	case *ast.InterfaceType:
		members = of.Methods
	case *ast.StructType:
		members = of.Fields
	default:
		return
	}
	for _, member := range members.List {
		for _, ident := range member.Names {
			names[spec.Name.Name+"."+ident.Name] = true
		}
	}
}

// receiver is the name of a method's type.
func receiver(of ast.Expr) string {
	switch of := of.(type) {
	case *ast.StarExpr:
		return receiver(of.X)
	case *ast.IndexExpr:
		return receiver(of.X)
	case *ast.Ident:
		return of.Name
	default:
		return ""
	}
}
