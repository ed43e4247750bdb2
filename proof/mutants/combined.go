package mutants

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// bugEnv holds the number of the active bug in a program with many.
const bugEnv = "WEIR_SEEDED_BUG"

// combine puts all bugs into one program, in which bugEnv selects the active one.
// Each function that a bug changes gets a copy, and the original calls the copy
// while the bug is active. So one build serves all bugs. The number of bugs[i] is
// i+1. Files are the changed files by path.
func combine(root string, bugs []Bug) (files map[string][]byte, err error) {
	combined := map[string]*combinedFile{}
	for i, b := range bugs {
		faulty, err := b.faulty(root)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", b.Name, err)
		}
		file := b.path(root)
		c := combined[file]
		if c == nil {
			source, err := os.ReadFile(file)
			if err != nil {
				return nil, fmt.Errorf("the file of a bug: %w", err)
			}
			if c, err = newCombinedFile(string(source)); err != nil {
				return nil, fmt.Errorf("%s: %w", b.File, err)
			}
			combined[file] = c
		}
		if err := c.add(i+1, faulty); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", b.Name, b.File, err)
		}
	}
	files = map[string][]byte{}
	for file, c := range combined {
		if files[file], err = c.text(); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		files[filepath.Join(filepath.Dir(file), "seeded_bug.go")] = fmt.Appendf(nil, switchText, c.of.file.Name.Name, bugEnv)
	}
	return files, nil
}

const switchText = `package %s

import (
	"os"
	"strconv"
)

var seededBug = func() int { n, _ := strconv.Atoi(os.Getenv(%q)); return n }()
`

// combinedFile is a file of the program with copies of its functions that contain
// bugs.
type combinedFile struct {
	of     *goFile
	copies []faultyCopy
	// imports of the original, and those added by bugs
	imports []string
}

type faultyCopy struct {
	of, with *function
	bug      int
}

func newCombinedFile(source string) (*combinedFile, error) {
	f, err := parseFile(source)
	if err != nil {
		return nil, err
	}
	return &combinedFile{of: f, imports: f.imports()}, nil
}

// add adds a bug: the file that contains it.
func (c *combinedFile) add(bug int, faulty string) error {
	f, err := parseFile(faulty)
	if err != nil {
		return err
	}
	elsewhere := errors.New("a bug may change bodies of functions, and imports; this one changes something else, or nothing")
	if f.rest != c.of.rest || len(f.functions) != len(c.of.functions) {
		return elsewhere
	}
	before := len(c.copies)
	for i, fn := range c.of.functions {
		with := f.functions[i]
		switch {
		case with.text == fn.text:
		case with.head != fn.head:
			return elsewhere
		default:
			c.copies = append(c.copies, faultyCopy{of: fn, with: with, bug: bug})
		}
	}
	if len(c.copies) == before {
		return elsewhere
	}
	for _, i := range f.imports() {
		if !slices.Contains(c.imports, i) {
			c.imports = append(c.imports, i)
		}
	}
	return nil
}

func (c *combinedFile) text() ([]byte, error) {
	var out bytes.Buffer
	at := c.of.packageEnd
	out.WriteString(c.of.source[:at])
	fmt.Fprintf(&out, "\n\nimport (\n%s\n)\n", strings.Join(c.imports, "\n"))
	for _, d := range c.of.file.Decls {
		if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.IMPORT {
			out.WriteString(c.of.source[at:c.of.offset(g.Pos())])
			at = c.of.offset(g.End())
		}
	}
	for _, fn := range c.of.functions {
		body := fn.bodyAt
		out.WriteString(c.of.source[at:body])
		at = body
		for _, copied := range c.copies {
			if copied.of == fn {
				fmt.Fprintf(&out, "if seededBug == %d { %s }\n", copied.bug, fn.call(copied.name()))
			}
		}
	}
	out.WriteString(c.of.source[at:])
	for _, copied := range c.copies {
		out.WriteString("\n" + copied.with.renamed(copied.name()) + "\n")
	}
	return format.Source(out.Bytes())
}

func (c faultyCopy) name() string { return fmt.Sprintf("%s_bug%d", c.of.decl.Name.Name, c.bug) }

// goFile is a parsed file: its functions, the text around them, and its imports.
type goFile struct {
	source     string
	set        *token.FileSet
	file       *ast.File
	functions  []*function
	rest       string
	packageEnd int
}

type function struct {
	decl       *ast.FuncDecl
	text, head string // the whole function, and the part before the body
	bodyAt     int    // offset in the file after the brace
	nameAt     int    // offset in text
}

func parseFile(source string) (*goFile, error) {
	f := &goFile{source: source, set: token.NewFileSet()}
	var err error
	if f.file, err = parser.ParseFile(f.set, "", source, parser.ParseComments|parser.SkipObjectResolution); err != nil {
		return nil, err
	}
	f.packageEnd = f.offset(f.file.Name.End())
	var rest strings.Builder
	at := f.packageEnd
	for _, d := range f.file.Decls {
		from, to := f.offset(d.Pos()), f.offset(d.End())
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Body == nil {
				continue
			}
			body := f.offset(d.Body.Lbrace) + 1
			f.functions = append(f.functions, &function{decl: d, text: source[from:to], head: source[from:body], bodyAt: body, nameAt: f.offset(d.Name.Pos()) - from})
		case *ast.GenDecl:
			if d.Tok != token.IMPORT {
				continue
			}
		}
		rest.WriteString(source[at:from])
		at = to
	}
	rest.WriteString(source[at:])
	f.rest = rest.String()
	return f, nil
}

func (f *goFile) offset(p token.Pos) int { return f.set.Position(p).Offset }

// imports returns the import specs of the file verbatim.
func (f *goFile) imports() []string {
	var specs []string
	for _, i := range f.file.Imports {
		spec := i.Path.Value
		if i.Name != nil {
			spec = i.Name.Name + " " + spec
		}
		specs = append(specs, spec)
	}
	return specs
}

// call returns a statement that calls the function under another name in place of
// this one. Parameters without a name are zero there, because nobody reads them.
func (f *function) call(name string) string {
	var args []string
	for _, p := range f.decl.Type.Params.List {
		for _, n := range f.names(p) {
			if _, variadic := p.Type.(*ast.Ellipsis); variadic {
				n += "..."
			}
			args = append(args, n)
		}
	}
	if f.decl.Recv != nil {
		name = f.names(f.decl.Recv.List[0])[0] + "." + name
	} else if params := f.decl.Type.TypeParams; params != nil {
		var names []string
		for _, t := range params.List {
			names = append(names, f.names(t)...)
		}
		name += "[" + strings.Join(names, ", ") + "]"
	}
	called := name + "(" + strings.Join(args, ", ") + ")"
	if f.decl.Type.Results == nil {
		return called + "; return"
	}
	return "return " + called
}

// names returns expressions for the parameters of one field.
func (f *function) names(p *ast.Field) []string {
	typ := p.Type
	if e, variadic := typ.(*ast.Ellipsis); variadic {
		typ = &ast.ArrayType{Elt: e.Elt}
	}
	nothing := "(*new(" + types.ExprString(typ) + "))"
	if len(p.Names) == 0 {
		return []string{nothing}
	}
	names := make([]string, len(p.Names))
	for i, n := range p.Names {
		if names[i] = n.Name; n.Name == "_" {
			names[i] = nothing
		}
	}
	return names
}

func (f *function) renamed(name string) string {
	return f.text[:f.nameAt] + name + f.text[f.nameAt+len(f.decl.Name.Name):]
}
