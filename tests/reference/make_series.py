"""Writes runtime/src/ops/series.rs: Chebyshev series of special functions, computed with 40 digits (needs mpmath).

    python make_series.py > ../../runtime/src/ops/series.rs && cargo fmt
"""
import mpmath as mp, time, sys
mp.mp.dps=40
def cheb(f,a,b,n):
    # coefficients of chebyshev series of f on [a,b], n terms via N-point
    N=n+24
    xs=[mp.cos(mp.pi*(k+mp.mpf(1)/2)/N) for k in range(N)]
    fs=[f((b-a)/2*x+(a+b)/2) for x in xs]
    cs=[]
    for j in range(N):
        s=sum(fs[k]*mp.cos(mp.pi*j*(k+mp.mpf(1)/2)/N) for k in range(N))
        cs.append(s*2/N)
    cs[0]/=2
    # truncate
    scale=max(abs(c) for c in cs)
    m=len(cs)
    while m>1 and abs(cs[m-1])<scale*mp.mpf(2)**-56: m-=1
    return [float(c) for c in cs[:m]], m==len(cs)
out={}
def fit(name,f,a,b,n):
    t=time.time()
    c,bad=cheb(f,mp.mpf(a),mp.mpf(b),n)
    out[name]=c
    print(name,len(c),'BAD' if bad else '',round(time.time()-t,1), file=sys.stderr, flush=True)
e=mp.mpf
sqrt=mp.sqrt; exp=mp.exp
# t in [0,1], x = edge/t
def inv(edge,f,lim):
    return lambda t: f(edge/t) if t>e(10)**-30 else lim
fit('I0E_NEAR',lambda x: exp(-x)*mp.besseli(0,x),0,8,40)
fit('I0E_FAR',inv(8,lambda x: sqrt(x)*exp(-x)*mp.besseli(0,x),1/sqrt(2*mp.pi)),0,1,36)
fit('I1E_NEAR',lambda x: exp(-x)*mp.besseli(1,x)/x if x else e(1)/2,0,8,40)
fit('I1E_FAR',inv(8,lambda x: sqrt(x)*exp(-x)*mp.besseli(1,x),1/sqrt(2*mp.pi)),0,1,36)
# K: x<=2, in s=x^2 in [0,4]
fit('I0_SMALL',lambda s: mp.besseli(0,sqrt(s)),0,4,20)
fit('I1_SMALL',lambda s: mp.besseli(1,sqrt(s))/sqrt(s) if s else e(1)/2,0,4,20)
fit('K0_SMALL',lambda s: mp.besselk(0,sqrt(s))+mp.log(sqrt(s)/2)*mp.besseli(0,sqrt(s)) if s else -mp.euler,0,4,20)
fit('K1_SMALL',lambda s: sqrt(s)*(mp.besselk(1,sqrt(s))-mp.log(sqrt(s)/2)*mp.besseli(1,sqrt(s))) if s else e(1),0,4,20)
fit('K0E_FAR',inv(2,lambda x: sqrt(x)*exp(x)*mp.besselk(0,x),sqrt(mp.pi/2)),0,1,36)
fit('K1E_FAR',inv(2,lambda x: sqrt(x)*exp(x)*mp.besselk(1,x),sqrt(mp.pi/2)),0,1,36)
# J,Y: x<=8 in s=x^2 [0,64]
fit('J0_NEAR',lambda s: mp.besselj(0,sqrt(s)),0,64,36)
fit('J1_NEAR',lambda s: mp.besselj(1,sqrt(s))/sqrt(s) if s else e(1)/2,0,64,36)
fit('Y0_NEAR',lambda s: mp.bessely(0,sqrt(s))-2/mp.pi*mp.log(sqrt(s))*mp.besselj(0,sqrt(s)) if s else 2/mp.pi*(mp.euler-mp.log(2)),0,64,36)
fit('Y1_NEAR',lambda s: (mp.bessely(1,sqrt(s))-2/mp.pi*(mp.log(sqrt(s))*mp.besselj(1,sqrt(s))-1/sqrt(s)))/sqrt(s),0,64,36)
def PQ(nu):
    def f(x):
        th=x-mp.pi/4-nu*mp.pi/2
        j,y=mp.besselj(nu,x),mp.bessely(nu,x)
        r=sqrt(mp.pi*x/2)
        return r*(j*mp.cos(th)+y*mp.sin(th)), r*(y*mp.cos(th)-j*mp.sin(th))
    return f
for nu in (0,1):
    f=PQ(nu)
    fit(f'P{nu}_FAR',lambda u: f(8/sqrt(u))[0] if u>e(10)**-8 else 1+ (e(-9)/128 if nu==0 else e(15)/128)*u/64,0,1,26)
    fit(f'Q{nu}_FAR',lambda u: f(8/sqrt(u))[1]*8/sqrt(u) if u>e(10)**-8 else (e(-1)/8 if nu==0 else e(3)/8),0,1,26)
fit('ERFCX',lambda t: (lambda x: (1+2*x)*exp(x*x)*mp.erfc(x) if x<30 else (1+2*x)/(x*sqrt(mp.pi))*(1-1/(2*x*x)+e(3)/(4*x**4)-e(15)/(8*x**6)+e(105)/(16*x**8)-e(945)/(32*x**10)+e(10395)/(64*x**12)))( e(15)/4*(1+t)/(1-t) ),-1,1,40)
fit('AIRY_MIDDLE',lambda x: mp.airyai(x),-4,4,44)
E4=e(2)/3*e(4)**e('1.5')
def ai_far(s):
    if s<e(10)**-25: return 1/(2*sqrt(mp.pi))
    z=E4/s; x=(z*e(3)/2)**(e(2)/3)
    return mp.airyai(x)*exp(z)*x**e('0.25')
fit('AIRY_FAR',ai_far,0,1,36)
def ai_neg(u):
    # u=(E4/zeta)^2
    z=E4/sqrt(u); x=(z*e(3)/2)**(e(2)/3)
    th=z+mp.pi/4; r=sqrt(mp.pi)*x**e('0.25')
    a,b=mp.airyai(-x),mp.airybi(-x)
    # a r = sin th P - cos th Q ; b r = cos th P + sin th Q
    return r*(a*mp.sin(th)+b*mp.cos(th)), r*(b*mp.sin(th)-a*mp.cos(th))
fit('AIRY_P',lambda u: ai_neg(u)[0] if u>e(10)**-8 else e(1),0,1,30)
fit('AIRY_Q',lambda u: ai_neg(u)[1]/sqrt(u) if u>e(10)**-8 else e(5)/72/E4,0,1,30)

DOCS = {
    'I0E_NEAR': 'e^-x I0(x), x in [0, 8]',
    'I0E_FAR': 'sqrt(x) e^-x I0(x), 8 / x in [0, 1]',
    'I1E_NEAR': 'e^-x I1(x) / x, x in [0, 8]',
    'I1E_FAR': 'sqrt(x) e^-x I1(x), 8 / x in [0, 1]',
    'I0_SMALL': 'I0(x), x^2 in [0, 4]',
    'I1_SMALL': 'I1(x) / x, x^2 in [0, 4]',
    'K0_SMALL': 'K0(x) + log(x / 2) I0(x), x^2 in [0, 4]',
    'K1_SMALL': 'x (K1(x) - log(x / 2) I1(x)), x^2 in [0, 4]',
    'K0E_FAR': 'sqrt(x) e^x K0(x), 2 / x in [0, 1]',
    'K1E_FAR': 'sqrt(x) e^x K1(x), 2 / x in [0, 1]',
    'J0_NEAR': 'J0(x), x^2 in [0, 64]',
    'J1_NEAR': 'J1(x) / x, x^2 in [0, 64]',
    'Y0_NEAR': 'Y0(x) - 2/pi log(x) J0(x), x^2 in [0, 64]',
    'Y1_NEAR': '(Y1(x) - 2/pi (log(x) J1(x) - 1/x)) / x, x^2 in [0, 64]',
    'P0_FAR': 'cosine part of the order 0, (8 / x)^2 in [0, 1]',
    'Q0_FAR': 'x times the sine part of the order 0, (8 / x)^2 in [0, 1]',
    'P1_FAR': 'cosine part of the order 1, (8 / x)^2 in [0, 1]',
    'Q1_FAR': 'x times the sine part of the order 1, (8 / x)^2 in [0, 1]',
    'ERFCX': '(1 + 2x) e^(x^2) erfc(x), (x - 3.75) / (x + 3.75) in [-1, 1]',
    'AIRY_MIDDLE': 'Ai(x), x in [-4, 4]',
    'AIRY_FAR': 'x^(1/4) e^z Ai(x), 16 / (3 z) in [0, 1] with z = 2/3 x^(3/2)',
    'AIRY_P': 'sine part of Ai(-x), (16 / (3 z))^2 in [0, 1]',
    'AIRY_Q': 'cosine part of Ai(-x) times 3 z / 16, (16 / (3 z))^2 in [0, 1]',
}
print('//! Chebyshev series of special functions, made by `tests/reference/make_series.py` with 40 digits. Each is named with the')
print('//! function and the variable in which it is smooth; that variable is mapped to [-1, 1].\n')
for name, series in out.items():
    print(f'/// {DOCS[name]}.')
    print(f'pub(super) const {name}: &[f64] = &[' + ', '.join(repr(c) for c in series) + '];\n')
