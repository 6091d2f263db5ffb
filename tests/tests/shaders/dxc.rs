//! Microsoft's shader compiler for DX12, DXC: the few calls of its COM interfaces that compile a shader.

#![allow(
    unsafe_code,
    reason = "the compiler is a library behind C++ tables of methods, and no crate knows Linux's layout"
)]

use std::ffi::c_void;
use std::path::{Path, PathBuf};
use std::ptr::{self, NonNull};
use std::slice;

use libloading::Library;
use plywood_tests::skipped;

/// Where the library is; `None`, said to be skipped, where there is none.
///
/// Panics where `PLYWOOD_DXC` names a file that is not there: then somebody meant it to be used.
pub fn library() -> Option<PathBuf> {
    if !cfg!(target_os = "linux") {
        skipped("DXC is called in the way of its Linux library only");
        return None;
    }
    crate::compiler("PLYWOOD_DXC", "libdxcompiler.so")
}

/// A class or an interface, as COM names it.
#[repr(C)]
struct Guid(u32, u16, u16, [u8; 8]);

const DXC_COMPILER: Guid = Guid(0x73e2_2d93, 0xe6ce, 0x47f3, [0xb5, 0xbf, 0xf0, 0x66, 0x4f, 0x39, 0xc1, 0xb0]);
const IDXC_COMPILER_3: Guid = Guid(0x228b_4687, 0x5a6a, 0x4730, [0x90, 0x0c, 0x97, 0x02, 0xb2, 0x20, 0x3f, 0x54]);
const IDXC_RESULT: Guid = Guid(0x5834_6cda, 0xdde7, 0x4497, [0x94, 0x61, 0x6f, 0x87, 0xaf, 0x5e, 0x06, 0x59]);

// Places in tables of methods, after dxcapi.h. IUnknown's come first: its three methods and, on Linux, two destructors.
const RELEASE: usize = 2;
const COMPILE: usize = 5;
const GET_STATUS: usize = 5;
const GET_RESULT: usize = 6;
const GET_ERRORS: usize = 7;
const GET_POINTER: usize = 5;
const GET_SIZE: usize = 6;

/// `DxcBuffer`.
#[repr(C)]
struct Source {
    text: *const u8,
    bytes: usize,
    encoding: u32,
}

const UTF_8: u32 = 65001;

type CreateInstance = unsafe extern "C" fn(*const Guid, *const Guid, *mut *mut Object) -> i32;
type Compile = unsafe extern "C" fn(
    NonNull<Object>,
    *const Source,
    *const *const u32,
    u32,
    *mut c_void,
    *const Guid,
    *mut *mut Object,
) -> i32;
type Release = unsafe extern "C" fn(NonNull<Object>) -> u32;
type GetStatus = unsafe extern "C" fn(NonNull<Object>, *mut i32) -> i32;
type GetBlob = unsafe extern "C" fn(NonNull<Object>, *mut *mut Object) -> i32;
type GetPointer = unsafe extern "C" fn(NonNull<Object>) -> *const u8;
type GetSize = unsafe extern "C" fn(NonNull<Object>) -> usize;

/// What a COM pointer points to: an object begins with its table of methods.
#[repr(C)]
struct Object {
    methods: *const *const c_void,
}

/// A reference to an object, which is released with it.
struct Owned(NonNull<Object>);

impl Owned {
    /// What a call left at `pointer`, if it succeeded.
    fn new(status: i32, pointer: *mut Object, call: &str) -> Result<Owned, String> {
        match NonNull::new(pointer) {
            Some(object) if status >= 0 => Ok(Owned(object)),
            _ => Err(format!("{call} gave {status:#x}")),
        }
    }

    /// The method at a place of the object's table.
    ///
    /// # Safety
    ///
    /// `Method` is the type of the function at that place.
    unsafe fn method<Method: Copy>(&self, place: usize) -> Method {
        assert_eq!(size_of::<Method>(), size_of::<*const c_void>(), "a method is a pointer to a function");
        // SAFETY: the object lives while this reference to it does, and the caller vouches for the place and the type.
        unsafe { ptr::read(self.0.as_ref().methods.add(place).cast::<Method>()) }
    }

    /// The bytes of a blob.
    ///
    /// # Safety
    ///
    /// The object is an `IDxcBlob`.
    unsafe fn bytes(&self) -> &[u8] {
        // SAFETY: both are methods of the blob's, which keeps its bytes as long as it lives.
        unsafe {
            let (pointer, size): (GetPointer, GetSize) = (self.method(GET_POINTER), self.method(GET_SIZE));
            match size(self.0) {
                0 => &[],
                size => slice::from_raw_parts(pointer(self.0), size),
            }
        }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: every object has this method, and the reference that it gives back is ours.
        unsafe { self.method::<Release>(RELEASE)(self.0) };
    }
}

/// A compiler, for one thread.
pub struct Compiler(Owned);

impl Compiler {
    /// A compiler of the library at a path.
    pub fn new(library: &Path) -> Result<Compiler, String> {
        // SAFETY: whoever put the library there trusts what it runs when it is loaded.
        let library = unsafe { Library::new(library) }.map_err(|error| format!("{}: {error}", library.display()))?;
        // Objects need their code, and LLVM is not made for being unloaded.
        let library: &'static Library = Box::leak(Box::new(library));
        let mut compiler = ptr::null_mut();
        // SAFETY: this is the type of `DxcCreateInstance` in dxcapi.h, and what it is given outlives the call.
        let status = unsafe {
            let create = library.get::<CreateInstance>(b"DxcCreateInstance\0").map_err(|error| error.to_string())?;
            create(&DXC_COMPILER, &IDXC_COMPILER_3, &mut compiler)
        };
        Owned::new(status, compiler, "DxcCreateInstance").map(Compiler)
    }

    /// The DXIL of a shader, or what the compiler has against it.
    pub fn compile(&self, hlsl: &str, arguments: &[String]) -> Result<Vec<u8>, String> {
        let source = Source { text: hlsl.as_ptr(), bytes: hlsl.len(), encoding: UTF_8 };
        // Characters have 32 bits on Linux.
        let wide = |argument: &String| argument.chars().map(u32::from).chain([0]).collect::<Vec<u32>>();
        let arguments: Vec<Vec<u32>> = arguments.iter().map(wide).collect();
        let pointers: Vec<*const u32> = arguments.iter().map(|argument| argument.as_ptr()).collect();
        let count = u32::try_from(pointers.len()).expect("a few arguments");
        let mut result = ptr::null_mut();
        // SAFETY: the method is IDxcCompiler3's; the source and the arguments outlive the call.
        let status = unsafe {
            let compile: Compile = self.0.method(COMPILE);
            let no_includes = ptr::null_mut();
            compile(self.0.0, &source, pointers.as_ptr(), count, no_includes, &IDXC_RESULT, &mut result)
        };
        let result = Owned::new(status, result, "Compile")?;
        let mut compiled = -1;
        // SAFETY: the methods are those of IDxcResult, and both of its blobs are IDxcBlob.
        unsafe {
            result.method::<GetStatus>(GET_STATUS)(result.0, &mut compiled);
            let place = if compiled >= 0 { GET_RESULT } else { GET_ERRORS };
            let mut blob = ptr::null_mut();
            let status = result.method::<GetBlob>(place)(result.0, &mut blob);
            let blob = Owned::new(status, blob, "GetResult")?;
            if compiled >= 0 { Ok(blob.bytes().to_vec()) } else { Err(String::from_utf8_lossy(blob.bytes()).into()) }
        }
    }
}
